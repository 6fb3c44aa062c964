//! The caller's span, as the header `traceparent` names it (W3C Trace Context, level 2, §3.2).
//!
//! * Errors: none; what is no traceparent is as if it were not there, as the standard asks.

/// The span that asked for the auction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// Its trace.
    pub trace_id: [u8; 16],
    /// The span.
    pub span_id: [u8; 8],
    /// Whether its caller records it.
    pub is_sampled: bool,
}

impl Parent {
    /// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`; later versions may go on after another dash.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let (fields, rest) = header.split_at_checked(55)?;
        let [version, trace_id, span_id, flags] = [0..2, 3..35, 36..52, 53..55].map(|at| &fields[at]);
        let dashes = [2, 35, 52].iter().all(|at| fields[*at] == b'-');
        let [version] = hexadecimal(version)?;
        let ends = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest[0] == b'-' };
        let (trace_id, span_id, [flags]) =
            (hexadecimal(trace_id)?, hexadecimal(span_id)?, hexadecimal(flags)?);
        let is_valid = dashes && ends && version != 0xff && trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, is_sampled: flags & 1 == 1 })
    }

    /// The one traceparent among the values of a request's headers of that name.
    pub fn only<'a>(mut headers: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let parent = headers.next().and_then(Self::parse);
        parent.filter(|_| headers.next().is_none())
    }
}

/// Two lowercase digits a byte, and nothing else.
fn hexadecimal<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    (pairs.len() == BYTES).then_some(bytes)
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_traceparent_is_one() {
        const IDS: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        let id = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
        let sampled = |text: &str| {
            let parent = Parent::parse(text.as_bytes())?;
            assert_eq!(parent.trace_id, id, "{text}");
            assert_eq!(parent.span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes(), "{text}");
            Some(parent.is_sampled)
        };
        for (text, expected) in [
            (format!("00-{IDS}-01"), Some(true)),
            (format!("00-{IDS}-00"), Some(false)),
            (format!("00-{IDS}-03"), Some(true)),
            (format!("cc-{IDS}-01"), Some(true)),
            (format!("cc-{IDS}-01-what the future will be like"), Some(true)),
            (format!("cc-{IDS}-01.what"), None),
            (format!("00-{IDS}-01-what"), None),
            (format!("ff-{IDS}-01"), None),
            (format!("00-{}-01", IDS.to_uppercase()), None),
            (format!("00-{}-01", IDS.replace('a', "g")), None),
            (format!("00_{IDS}-01"), None),
            (format!("00-{IDS}-1"), None),
            (format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), None),
            (format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16)), None),
            (String::new(), None),
            ("ä".repeat(40), None),
        ] {
            assert_eq!(sampled(&text), expected, "{text}");
        }
    }

    #[test]
    fn two_traceparents_are_none() {
        let one = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".as_slice();
        assert!(Parent::only([one].into_iter()).is_some());
        assert_eq!(Parent::only([one, one].into_iter()), None);
        assert_eq!(Parent::only(std::iter::empty()), None);
    }
}
