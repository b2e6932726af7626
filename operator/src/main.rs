//! The `headwater` program.

use std::ffi::OsString;
use std::process::ExitCode;

use headwater::args::Args;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let line: Vec<OsString> = std::env::args_os().collect();
    if let Some(answer) = headwater::plugin::complete::asked(&line) {
        print!("{answer}");
        return ExitCode::SUCCESS;
    }
    let args = Args::from_line(line).unwrap_or_else(|error| error.exit());
    match headwater::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("headwater: {error:#}");
            ExitCode::FAILURE
        }
    }
}
