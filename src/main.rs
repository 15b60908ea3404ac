//! The `sidestream` binary.

use std::process::ExitCode;

use sidestream::{
    app,
    cli::{self, Work},
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
            app::start(config, options)?.wait();
            Ok(())
        },
        demo: |_demo| Err("not put together yet".to_owned()),
    })
}
