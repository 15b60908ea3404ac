//! The `sidestream` binary.

use std::process::ExitCode;

use sidestream::{
    app::{self, Running},
    cli::{self, Demo, Failure, Work},
    config::Config,
    demo::{self, Options, Serving},
    logging,
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main(&Work {
        run: |config, path| {
            logging::init(&config.log).map_err(Failure::usage)?;
            let options = app::Options {
                config_file: Some(path.to_owned()),
                signals: true,
                ..app::Options::default()
            };
            app::start(config, options)
                .and_then(Running::wait)
                .map_err(Failure::runtime)
        },
        demo: |flags| demo::run(&options(flags), serve_demo, print),
    })
}

fn options(flags: &Demo) -> Options {
    Options {
        upstream: flags.upstream.clone(),
        stream_paths: flags.stream_paths.clone(),
        http_port: flags.http_port,
        https_port: flags.https_port,
        control_port: flags.control_port,
    }
}

fn serve_demo(config: Config) -> Result<Serving, Failure> {
    logging::init(&config.log).map_err(Failure::usage)?;
    let options = app::Options {
        signals: true,
        ..app::Options::default()
    };
    let running = app::start(config, options).map_err(Failure::runtime)?;
    let stats = demo::stats_of(&running.hub.metrics, &running.hub.config.load());
    let wait = Box::new(move || running.wait());
    Ok(Serving { stats, wait })
}

#[expect(clippy::print_stdout, reason = "the demo's addresses are its output")]
fn print(text: &str) {
    println!("{text}");
}
