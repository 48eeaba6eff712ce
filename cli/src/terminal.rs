//! The terminal that a person sits at: how large it is, and whether it shows what is typed.

use std::{io, mem::MaybeUninit, os::fd::AsRawFd as _};

/// Columns of the terminal that stdout is; `None` where it is none.
pub fn width() -> Option<usize> {
    size().map(|(columns, _)| columns)
}

/// Lines of the terminal that stdout is; `None` where it is none.
pub fn height() -> Option<usize> {
    size().map(|(_, lines)| lines)
}

fn size() -> Option<(usize, usize)> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the call writes a `winsize` and no more.
    let answer = unsafe { libc::ioctl(io::stdout().as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr()) };
    // SAFETY: all zeros is a valid `winsize`, and so is what the call wrote.
    let size = unsafe { size.assume_init() };
    (answer == 0 && size.ws_col > 0).then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// While this lives, the terminal on stdin does not show what is typed, which would tear progress lines apart; it is kept for
/// whoever reads next. Ctrl-C is a signal as ever.
pub struct Unechoed {
    before: libc::termios,
}

impl Unechoed {
    /// Stops the echo; `None` where stdin is no terminal.
    pub fn stdin() -> Option<Self> {
        let mut settings = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the call writes all of the settings if it answers 0.
        let before = unsafe {
            if libc::tcgetattr(libc::STDIN_FILENO, settings.as_mut_ptr()) != 0 {
                return None;
            }
            settings.assume_init()
        };
        let quiet = libc::termios { c_lflag: before.c_lflag & !libc::ECHO, ..before };
        apply(&quiet).then_some(Self { before })
    }
}

impl Drop for Unechoed {
    fn drop(&mut self) {
        apply(&self.before);
    }
}

fn apply(settings: &libc::termios) -> bool {
    // SAFETY: the settings came from `tcgetattr`.
    unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, settings) == 0 }
}
