//! A person at a terminal: the binary on a pseudo terminal, keys in, the screen as a person would see it out.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    num::NonZero,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::thalweg::command;

const ROWS: NonZero<u16> = NonZero::new(40).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(100).unwrap();
/// How long a test waits for something to be seen.
const PATIENCE: Duration = Duration::from_secs(60);
/// A program's question where the cursor is.
const WHERE_IS_THE_CURSOR: &[u8] = b"\x1b[6n";

/// A running program and its screen.
pub struct Terminal {
    program: Child,
    keys: File,
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
}

impl Terminal {
    /// Starts the binary on a terminal of its own, with an empty environment apart from its home folder.
    pub fn start(arguments: &[&str], home: &std::path::Path) -> Self {
        let (ours, theirs) = open_terminal();
        let mut program = command(arguments);
        program.env_clear().env("HOME", home).env("TERM", "xterm-256color").env("TZ", "UTC");
        program
            .stdin(theirs.try_clone().unwrap())
            .stdout(theirs.try_clone().unwrap())
            .stderr(Stdio::from(theirs));
        // SAFETY: both calls are allowed between fork and exec; stdin is the terminal by then.
        unsafe {
            program.pre_exec(|| match libc::setsid() >= 0 && libc::ioctl(0, libc::TIOCSCTTY, 0) == 0 {
                true => Ok(()),
                false => Err(io::Error::last_os_error()),
            });
        }
        let program_started = program.spawn().unwrap();
        // Holds the other end of the terminal, whose end would not be seen otherwise.
        drop(program);
        let screen = Arc::new((Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)), Condvar::new()));
        let (output, shown) = (ours.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || show(output, &shown));
        Self { program: program_started, keys: ours, screen }
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen, without the blanks at its lines' ends, shows what is wanted; returns it.
    pub fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let (parser, changed) = &*self.screen;
        let mut parser = parser.lock().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = text(&parser);
            if wanted(&text) {
                return text;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} on the screen:\n{text}");
            parser = changed.wait_timeout(parser, left).unwrap().0;
        }
    }

    /// Waits until the screen's last line that is not empty is this.
    pub fn wait_line(&self, line: &str) -> String {
        self.wait(line, |text| text.trim_end().ends_with(line.trim_end()))
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the child has not been waited for, so the id is its own.
        unsafe { libc::kill(self.program.id() as libc::pid_t, signal) };
    }

    /// Waits for the program's end; its exit code.
    pub fn ended(mut self) -> Option<i32> {
        self.program.wait().unwrap().code()
    }
}

fn text(parser: &vt100::Parser) -> String {
    parser.screen().rows(0, COLUMNS.get()).map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Draws what the program writes until it has ended, and answers its questions.
fn show(mut terminal: File, screen: &(Mutex<vt100::Parser>, Condvar)) {
    let mut buffer = [0; 4096];
    let mut seen = Vec::new();
    // Reading fails once nobody holds the other end.
    while let Ok(length @ 1..) = terminal.read(&mut buffer) {
        let mut parser = screen.0.lock().unwrap();
        parser.process(&buffer[..length]);
        seen.extend_from_slice(&buffer[..length]);
        while let Some(at) =
            seen.windows(WHERE_IS_THE_CURSOR.len()).position(|part| part == WHERE_IS_THE_CURSOR)
        {
            seen.drain(..at + WHERE_IS_THE_CURSOR.len());
            let (row, column) = parser.screen().cursor_position();
            let _ = write!(terminal, "\x1b[{};{}R", row + 1, column + 1);
        }
        seen.drain(..seen.len().saturating_sub(WHERE_IS_THE_CURSOR.len() - 1));
        screen.1.notify_all();
    }
}

fn open_terminal() -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let size = libc::winsize { ws_row: ROWS.get(), ws_col: COLUMNS.get(), ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointers are to live values or null where that is allowed; on success both are open and nobody else's.
    unsafe {
        let opened = libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null(), &size);
        assert_eq!(opened, 0, "{}", io::Error::last_os_error());
        let (ours, theirs) = (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs));
        for end in [ours.as_raw_fd(), theirs.as_raw_fd()] {
            assert_eq!(libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC), 0);
        }
        (ours, theirs)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Ended already unless the test failed.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
