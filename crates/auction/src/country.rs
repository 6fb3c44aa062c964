//! Countries: ISO 3166-1, alpha-2 inside, alpha-2 or alpha-3 at the door.

use std::fmt;

/// A country that ISO 3166-1 assigns, held as its place in the alphabet of alpha-2 codes: a byte that indexes tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country(u8);

impl Country {
    /// How many countries there are; every [`Country::index`] is below it.
    pub const COUNT: usize = CODES.len() / 5;

    /// The country of an alpha-2 or alpha-3 code in any case: `US`, `us`, `USA`. None if ISO 3166-1 assigns no such
    /// code.
    pub fn from_code(code: &str) -> Option<Self> {
        match *code.as_bytes() {
            [a, b] => Self::from_alpha2([a.to_ascii_uppercase(), b.to_ascii_uppercase()]),
            [a, b, c] => {
                let wanted = [a, b, c].map(|letter| letter.to_ascii_uppercase());
                (0..Self::COUNT).find(|i| CODES[i * 5 + 2..i * 5 + 5] == wanted).map(|i| Self(i as u8))
            }
            _ => None,
        }
    }

    fn from_alpha2(wanted: [u8; 2]) -> Option<Self> {
        let [a, b] = wanted.map(|letter| letter.wrapping_sub(b'A'));
        if a >= 26 || b >= 26 {
            return None;
        }
        match BY_ALPHA2[usize::from(a) * 26 + usize::from(b)] {
            UNASSIGNED => None,
            index => Some(Self(index)),
        }
    }

    /// The country at `index` of the alphabet of alpha-2 codes.
    pub fn from_index(index: usize) -> Option<Self> {
        (index < Self::COUNT).then_some(Self(index as u8))
    }

    /// Its place in the alphabet of alpha-2 codes.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The alpha-2 code, upper case.
    pub fn alpha2(self) -> &'static str {
        let at = self.index() * 5;
        // The table is ASCII, as its test shows.
        std::str::from_utf8(&CODES[at..at + 2]).unwrap_or("")
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.alpha2())
    }
}

const UNASSIGNED: u8 = u8::MAX;

/// Two letters to a place in `CODES`, so that the hot path makes one look-up.
static BY_ALPHA2: [u8; 26 * 26] = {
    let mut table = [UNASSIGNED; 26 * 26];
    let mut i = 0;
    while i < Country::COUNT {
        table[(CODES[i * 5] - b'A') as usize * 26 + (CODES[i * 5 + 1] - b'A') as usize] = i as u8;
        i += 1;
    }
    table
};

/// Every assigned country as alpha-2 and alpha-3 run together, in the alphabet of alpha-2.
const CODES: &[u8] = b"\
ADANDAEAREAFAFGAGATGAIAIAALALBAMARMAOAGOAQATAARARGASASMATAUTAUAUSAWABWAXALAAZAZEBABIHBBBRBBDBGDBEBEL\
BFBFABGBGRBHBHRBIBDIBJBENBLBLMBMBMUBNBRNBOBOLBQBESBRBRABSBHSBTBTNBVBVTBWBWABYBLRBZBLZCACANCCCCKCDCOD\
CFCAFCGCOGCHCHECICIVCKCOKCLCHLCMCMRCNCHNCOCOLCRCRICUCUBCVCPVCWCUWCXCXRCYCYPCZCZEDEDEUDJDJIDKDNKDMDMA\
DODOMDZDZAECECUEEESTEGEGYEHESHERERIESESPETETHFIFINFJFJIFKFLKFMFSMFOFROFRFRAGAGABGBGBRGDGRDGEGEOGFGUF\
GGGGYGHGHAGIGIBGLGRLGMGMBGNGINGPGLPGQGNQGRGRCGSSGSGTGTMGUGUMGWGNBGYGUYHKHKGHMHMDHNHNDHRHRVHTHTIHUHUN\
IDIDNIEIRLILISRIMIMNININDIOIOTIQIRQIRIRNISISLITITAJEJEYJMJAMJOJORJPJPNKEKENKGKGZKHKHMKIKIRKMCOMKNKNA\
KPPRKKRKORKWKWTKYCYMKZKAZLALAOLBLBNLCLCALILIELKLKALRLBRLSLSOLTLTULULUXLVLVALYLBYMAMARMCMCOMDMDAMEMNE\
MFMAFMGMDGMHMHLMKMKDMLMLIMMMMRMNMNGMOMACMPMNPMQMTQMRMRTMSMSRMTMLTMUMUSMVMDVMWMWIMXMEXMYMYSMZMOZNANAM\
NCNCLNENERNFNFKNGNGANINICNLNLDNONORNPNPLNRNRUNUNIUNZNZLOMOMNPAPANPEPERPFPYFPGPNGPHPHLPKPAKPLPOLPMSPM\
PNPCNPRPRIPSPSEPTPRTPWPLWPYPRYQAQATREREUROROURSSRBRURUSRWRWASASAUSBSLBSCSYCSDSDNSESWESGSGPSHSHNSISVN\
SJSJMSKSVKSLSLESMSMRSNSENSOSOMSRSURSSSSDSTSTPSVSLVSXSXMSYSYRSZSWZTCTCATDTCDTFATFTGTGOTHTHATJTJKTKTKL\
TLTLSTMTKMTNTUNTOTONTRTURTTTTOTVTUVTWTWNTZTZAUAUKRUGUGAUMUMIUSUSAUYURYUZUZBVAVATVCVCTVEVENVGVGBVIVIR\
VNVNMVUVUTWFWLFWSWSMYEYEMYTMYTZAZAFZMZMBZWZWE\
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_iso_3166_1_as_an_independent_list_has_it() {
        let mut listed: Vec<_> = iso3166::LIST.iter().map(|c| (c.alpha2, c.alpha3)).collect();
        listed.push(("AQ", "ATA")); // Antarctica is assigned; that list leaves it out
        listed.sort_unstable();
        assert_eq!(listed.len(), Country::COUNT);
        for (i, (alpha2, alpha3)) in listed.into_iter().enumerate() {
            let country = Country::from_index(i).unwrap();
            assert_eq!(country.alpha2(), alpha2);
            for code in [alpha2, alpha3, &alpha2.to_lowercase(), &alpha3.to_lowercase()] {
                assert_eq!(Country::from_code(code), Some(country), "{code}");
            }
        }
    }

    #[test]
    fn what_iso_does_not_assign_is_no_country() {
        for code in ["", "U", "ZZ", "XX", "UK", "U1", "USAA", "ZZZ", "u\u{e9}", "日", "  ", "US "] {
            assert_eq!(Country::from_code(code), None, "{code:?}");
        }
    }
}
