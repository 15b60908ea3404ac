//! What strangers sent, made fit for a log line.

use std::fmt::{self, Write as _};

/// Bytes of the original that are shown.
const BYTES_MAX: usize = 256;

/// Shows bytes that a client or the app sent: escaped, and cut at 256 bytes.
///
/// Nothing it writes can end a line, move a cursor, turn text around or be mistaken for an escape
/// of ours.
#[derive(Clone, Copy)]
pub struct Clip<'a>(&'a [u8]);

impl<'a> Clip<'a> {
    /// Takes text or bytes.
    pub fn new<T: AsRef<[u8]> + ?Sized>(bytes: &'a T) -> Self {
        Self(bytes.as_ref())
    }
}

impl fmt::Display for Clip<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..BYTES_MAX).unwrap_or(self.0);
        for chunk in shown.utf8_chunks() {
            for c in chunk.valid().chars() {
                if is_harmless(c) {
                    f.write_char(c)?;
                } else {
                    write!(f, "{}", c.escape_default())?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        let more = self.0.len() - shown.len();
        if more > 0 {
            write!(f, "... ({more} bytes more)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Clip<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

fn is_harmless(c: char) -> bool {
    let reorders = matches!(c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks_line = matches!(c, '\u{2028}' | '\u{2029}');
    !(c.is_control() || reorders || breaks_line || c == '\\' || c == '"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_becomes_harmless() {
        let long = "x".repeat(65_536);
        let cut_in_the_middle = format!("{}é", "x".repeat(255));
        let cases: [(&[u8], String); 9] = [
            (b"/prices/a?b=c", "/prices/a?b=c".to_owned()),
            ("/prix/é".as_bytes(), "/prix/é".to_owned()),
            (b"a\r\nb", r"a\r\nb".to_owned()),
            (b"\x1b[31m\0", r"\u{1b}[31m\u{0}".to_owned()),
            (
                "\u{2028}\u{85}\u{202e}".as_bytes(),
                r"\u{2028}\u{85}\u{202e}".to_owned(),
            ),
            (br#"\n""#, r#"\\n\""#.to_owned()),
            (b"a\xff\xfeb", r"a\xff\xfeb".to_owned()),
            (
                long.as_bytes(),
                format!("{}... (65280 bytes more)", "x".repeat(256)),
            ),
            (
                cut_in_the_middle.as_bytes(),
                format!(r"{}\xc3... (1 bytes more)", "x".repeat(255)),
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Clip::new(bytes).to_string(), expected);
        }
    }
}
