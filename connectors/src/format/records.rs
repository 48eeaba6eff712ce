//! Where records of a text file end: at a newline that is not inside quotes.

/// What keeps a newline from ending a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quoting {
    /// Opens and closes a quoted field; doubled inside one, it stands for itself.
    pub quote: Option<u8>,
    /// Takes its meaning from the next byte.
    pub escape: Option<u8>,
    /// Ends a field.
    pub delimiter: u8,
    /// Begins a line that is no record.
    pub comment: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    RecordStart,
    FieldStart,
    Plain,
    Quoted,
    /// After a quote in a quoted field: the field's end, or half of a doubled quote.
    QuoteInQuoted,
    Escaped,
    Comment,
}

/// Finds the ends of records in bytes that come in pieces.
#[derive(Debug, Clone)]
pub struct Scanner {
    quoting: Quoting,
    state: State,
}

impl Scanner {
    /// Begins at the start of a record.
    pub fn new(quoting: Quoting) -> Self {
        Self { quoting, state: State::RecordStart }
    }

    /// The positions just after each record that ends in the next bytes.
    pub fn ends<'a>(&'a mut self, bytes: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        bytes.iter().enumerate().filter_map(|(position, byte)| self.step(*byte).then_some(position + 1))
    }

    /// The position just after the first record that ends in the next bytes. Bytes after it are not looked at.
    pub fn first_end(&mut self, bytes: &[u8]) -> Option<usize> {
        self.ends(bytes).next()
    }

    /// Whether this byte ends a record.
    fn step(&mut self, byte: u8) -> bool {
        let Quoting { quote, escape, delimiter, comment } = self.quoting;
        let quote_is = quote == Some(byte);
        self.state = match self.state {
            State::Escaped => State::Quoted,
            State::Quoted if escape == Some(byte) && escape != quote => State::Escaped,
            State::Quoted if quote_is => State::QuoteInQuoted,
            State::Quoted => State::Quoted,
            State::QuoteInQuoted if quote_is => State::Quoted,
            _ if byte == b'\n' => {
                self.state = State::RecordStart;
                return true;
            }
            State::Comment => State::Comment,
            State::RecordStart if comment == Some(byte) => State::Comment,
            State::RecordStart | State::FieldStart if quote_is => State::Quoted,
            _ if byte == delimiter => State::FieldStart,
            _ => State::Plain,
        };
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Quoting = Quoting { quote: Some(b'"'), escape: None, delimiter: b',', comment: Some(b'#') };

    fn ends(quoting: Quoting, text: &str) -> Vec<usize> {
        Scanner::new(quoting).ends(text.as_bytes()).collect()
    }

    #[test]
    fn quoted_newlines_end_nothing() {
        assert_eq!(ends(CSV, "a,\"b\nc\"\nd\n"), [8, 10]);
        assert_eq!(ends(CSV, "\"a\"\"\n\"\nb\n"), [7, 9]);
        assert_eq!(ends(Quoting::default(), "\"a\nb\"\n"), [3, 6]);
    }

    #[test]
    fn a_quote_inside_a_plain_field_is_text() {
        assert_eq!(ends(CSV, "5\" pipe,x\ny\n"), [10, 12]);
    }

    #[test]
    fn comments_hide_quotes() {
        assert_eq!(ends(CSV, "# it\"s\na\n"), [7, 9]);
    }

    #[test]
    fn escapes_hide_quotes() {
        let quoting = Quoting { escape: Some(b'\\'), ..CSV };
        assert_eq!(ends(quoting, "\"a\\\"\n\",b\n"), [9]);
    }

    #[test]
    fn pieces_make_no_difference() {
        let text = b"a,\"b\nc\"\nd\n";
        for cut in 0..text.len() {
            let mut scanner = Scanner::new(CSV);
            let mut found: Vec<usize> = scanner.ends(&text[..cut]).collect();
            found.extend(scanner.ends(&text[cut..]).map(|end| cut + end));
            assert_eq!(found, [8, 10], "cut at {cut}");
        }
    }
}
