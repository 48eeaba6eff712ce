//! Panics of tasks as messages. The payload of a panic does not say where it happened, so a hook notes it when it does.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{self, PanicHookInfo},
    sync::Once,
};

use parking_lot::Mutex;

/// Panics that are remembered; only one that is being caught just now is looked up.
const REMEMBERED: usize = 32;

static RECENT: Mutex<VecDeque<(String, String)>> = Mutex::new(VecDeque::new());

/// Starts to note where panics happen. The hook that was there before still runs.
pub fn note_locations() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            note(info);
            before(info);
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    let Some(location) = info.location() else { return };
    let mut recent = RECENT.lock();
    recent.truncate(REMEMBERED - 1);
    recent.push_front((text(info.payload()).to_owned(), format!("{}:{}", location.file(), location.line())));
}

/// What a caught panic says, with its place.
pub fn message(payload: &(dyn Any + Send)) -> String {
    let text = text(payload);
    let recent = RECENT.lock();
    match recent.iter().find(|(noted, _)| noted == text) {
        Some((_, place)) => format!("the task panicked at `{place}`: {text}"),
        None => format!("the task panicked: {text}"),
    }
}

fn text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return text;
    }
    payload.downcast_ref::<String>().map_or("(without a text)", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place_even_when_another_thread_passes_it_on() {
        note_locations();
        let payload = std::thread::spawn(|| panic!("value {} is odd", 3)).join().unwrap_err();
        let text = message(payload.as_ref());
        assert!(text.starts_with(&format!("the task panicked at `{}:", file!())), "{text}");
        assert!(text.ends_with("`: value 3 is odd"), "{text}");
        assert_eq!(message(&"never seen"), "the task panicked: never seen");
    }
}
