//! Runs the binary.

use std::process::{Command, Output, Stdio};

/// What one run of the binary said.
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The binary, away from the configuration of the machine that the tests run on.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.args(arguments).stdin(Stdio::null());
    for variable in ["THALWEG_CONF_DIR", "FLINK_CONF_DIR", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command
}

/// Runs the binary to its end.
pub fn thalweg(arguments: &[&str]) -> Said {
    said(command(arguments).output().unwrap())
}

pub fn said(output: Output) -> Said {
    Said {
        code: output.status.code().expect("no signal ended it"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
