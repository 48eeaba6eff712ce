//! The texts of events. They lie in a few buffers made once, and rows point into those: no row allocates or copies any.

use arrow::{
    array::{StringViewArray, make_view},
    buffer::{Buffer, NullBuffer, ScalarBuffer},
};

use crate::random::{Sequence, below};

/// Long texts are cut from so many random letters.
const LETTERS: usize = 1 << 16;

/// Some texts, by number.
#[derive(Debug, Clone)]
pub struct Texts {
    /// Where those longer than a view holds lie.
    buffer: Buffer,
    views: Vec<u128>,
}

impl Texts {
    /// These texts, of ASCII characters.
    pub fn of(texts: impl IntoIterator<Item = String>) -> Self {
        let mut builder = TextBuilder::default();
        texts.into_iter().for_each(|text| builder.push(text.as_bytes()));
        let TextBuilder { bytes, views } = builder;
        Self { buffer: bytes.into(), views }
    }

    /// A column of them.
    pub fn column(&self, numbers: impl Iterator<Item = u32>) -> TextColumn {
        let views = numbers.map(|number| self.views[number as usize]).collect();
        TextColumn { views, buffer: self.buffer.clone() }
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.views.len() as u32
    }
}

/// A column of texts without NULL, all in one buffer.
#[derive(Debug, Clone)]
pub struct TextColumn {
    /// One for each row.
    pub views: Vec<u128>,
    buffer: Buffer,
}

impl TextColumn {
    /// The same texts for other rows.
    pub fn with_views(&self, views: Vec<u128>) -> Self {
        Self { views, buffer: self.buffer.clone() }
    }

    /// The column as an array.
    pub fn into_array(self, nulls: Option<NullBuffer>) -> StringViewArray {
        let views = ScalarBuffer::from(self.views);
        // SAFETY: `TextBuilder` and `Letters` make views into the buffer that goes with them, and put nothing but ASCII there; a
        // row of another kind has the empty view. Columns of millions of rows a second are not to be checked for that again.
        unsafe { StringViewArray::new_unchecked(views, [self.buffer], nulls) }
    }
}

/// Builds a column of texts that are made for it.
#[derive(Debug, Default)]
pub struct TextBuilder {
    bytes: Vec<u8>,
    views: Vec<u128>,
}

impl TextBuilder {
    /// Adds a text of ASCII characters.
    pub fn push(&mut self, text: &[u8]) {
        assert!(text.is_ascii(), "texts are made of ASCII characters");
        let start = u32::try_from(self.bytes.len()).expect("the texts of a column are far below 4 GB");
        self.bytes.extend_from_slice(text);
        self.views.push(make_view(text, 0, start));
    }

    /// The column.
    pub fn finish(self) -> TextColumn {
        TextColumn { views: self.views, buffer: self.bytes.into() }
    }
}

/// Random letters that texts are cut from.
#[derive(Debug, Clone)]
pub struct Letters {
    buffer: Buffer,
}

impl Letters {
    /// Letters of a seed; one of `spaces` characters is a space, none where that is 0.
    pub fn new(seed: u64, spaces: u32) -> Self {
        let random = Sequence::named(seed, if spaces == 0 { "letters" } else { "words" });
        let letter = |position: usize| {
            let random = random.at(position as u64);
            match spaces > 0 && below((random >> 32) as u32, spaces) == 0 {
                true => b' ',
                false => b'a' + below(random as u32, 26) as u8,
            }
        };
        Self { buffer: (0..LETTERS).map(letter).collect::<Vec<u8>>().into() }
    }

    /// A column of texts of `min` to below `min + span` characters, one for each random number; without spaces at both ends.
    pub fn column(&self, randoms: impl Iterator<Item = u64>, min: u32, span: u32) -> TextColumn {
        let min = min.min(LETTERS as u32 / 2);
        let span = span.min(LETTERS as u32 / 2).max(1);
        let views = randoms.map(|random| {
            let length = min + below(random as u32, span);
            let start = below((random >> 32) as u32, LETTERS as u32 - length) as usize;
            self.view(start, start + length as usize)
        });
        TextColumn { views: views.collect(), buffer: self.buffer.clone() }
    }

    #[inline]
    fn view(&self, mut start: usize, mut end: usize) -> u128 {
        let bytes = self.buffer.as_slice();
        while start < end && bytes[start] == b' ' {
            start += 1;
        }
        while start < end && bytes[end - 1] == b' ' {
            end -= 1;
        }
        make_view(&bytes[start..end], 0, start as u32)
    }
}

/// The bounds of a text that fills an event up to about so many bytes: a fifth more or less of what is missing.
pub fn filling(average: u32, used: u32) -> (u32, u32) {
    let missing = average.saturating_sub(used);
    let fifth = (f64::from(missing) * 0.2).round() as u32;
    (missing - fifth, 2 * fifth)
}

#[cfg(test)]
mod tests {
    use arrow::array::Array as _;

    use super::*;

    #[test]
    fn a_column_of_texts_is_what_was_put_in() {
        let texts =
            Texts::of(["short".to_owned(), "one that is longer than a view".to_owned(), String::new()]);
        let column = texts.column([1, 0, 2, 1].into_iter()).into_array(None);
        assert_eq!(
            column.iter().flatten().collect::<Vec<_>>(),
            ["one that is longer than a view", "short", "", "one that is longer than a view"]
        );
        column.to_data().validate_full().unwrap();
    }

    #[test]
    fn cut_texts_have_the_length_that_was_asked_for() {
        let randoms = Sequence::named(0, "test");
        let column =
            Letters::new(0, 0).column((0..1_000).map(|row| randoms.at(row)), 54, 28).into_array(None);
        column.to_data().validate_full().unwrap();
        let lengths: Vec<usize> = column.iter().flatten().map(str::len).collect();
        assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&54), Some(&81)));
        let words = Letters::new(0, 13).column((0..1_000).map(|row| randoms.at(row)), 3, 97).into_array(None);
        words.to_data().validate_full().unwrap();
        assert!(words.iter().flatten().all(|text| text.trim() == text && text.len() < 100));
        assert!(words.iter().flatten().any(|text| text.contains(' ')));
    }

    #[test]
    fn what_fills_an_event_is_long_enough_on_average() {
        assert_eq!(filling(100, 32), (54, 28));
        assert_eq!(filling(100, 120), (0, 0));
    }
}
