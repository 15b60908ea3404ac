//! The `sidestream` binary.

use std::process::ExitCode;

use sidestream::{
    app,
    cli::{self, Demo, Work},
    config::Config,
    demo::{self, Options, Serving},
    logging,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main(&Work {
        run: |config, path| {
            logging::init(&config.log)?;
            let options = app::Options {
                config_file: Some(path.to_owned()),
                signals: true,
            };
            app::start(config, options)?.wait()
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

fn serve_demo(config: Config) -> Result<Serving, String> {
    logging::init(&config.log)?;
    let running = app::start(
        config,
        app::Options {
            config_file: None,
            signals: true,
        },
    )?;
    let stats = demo::stats_of(&running.hub.metrics, &running.hub.config.load());
    let wait = Box::new(move || running.wait());
    Ok(Serving { stats, wait })
}

#[expect(clippy::print_stdout, reason = "the demo's addresses are its output")]
fn print(text: &str) {
    println!("{text}");
}
