//! The `sidestream` binary.

use std::process::ExitCode;

use sidestream::cli::{self, Work};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main(&Work {
        run: |_config, _path| Err("not put together yet".to_owned()),
        demo: |_demo| Err("not put together yet".to_owned()),
    })
}
