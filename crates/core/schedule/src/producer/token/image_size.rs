//! Width and height of an image in a request, from the header of its PNG, JPEG or GIF data.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::params::Resolution;

/// Blocks that are looked at before a JPEG is given up.
const MAX_JPEG_BLOCKS: usize = 256;

/// Takes data that is cut anywhere between two groups of four characters.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// `None` unless `reference` is a `data:` URL in base64, or base64 alone, with a header that says so.
pub(super) fn image_size(reference: &[u8]) -> Option<Resolution> {
    let data = match reference.strip_prefix(b"data:") {
        Some(rest) => {
            // Media type and parameters are short.
            let comma = rest.iter().take(256).position(|byte| *byte == b',')?;
            let (head, data) = (&rest[..comma], &rest[comma + 1..]);
            if !head.ends_with(b";base64") {
                return None;
            }
            data
        }
        // Anthropic's images come without a URL around them. An address of another kind has characters that base64 has not.
        None => reference,
    };
    let data = Base64 { data };
    let start: [u8; 24] = data.read(0)?;
    let size = if start.starts_with(b"\x89PNG\r\n\x1a\n") {
        let side = |at: usize| u32::from_be_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]);
        Resolution { width: side(16), height: side(20) }
    } else if start.starts_with(b"GIF87a") || start.starts_with(b"GIF89a") {
        let side = |at: usize| u16::from_le_bytes([start[at], start[at + 1]]).into();
        Resolution { width: side(6), height: side(8) }
    } else if start.starts_with(b"\xff\xd8") {
        jpeg(&data)?
    } else {
        return None;
    };
    (size.width > 0 && size.height > 0).then_some(size)
}

/// Walks from block to block to the frame header.
fn jpeg(data: &Base64<'_>) -> Option<Resolution> {
    let mut at = 2;
    for _ in 0..MAX_JPEG_BLOCKS {
        let [marker, kind, l0, l1, _, h0, h1, w0, w1]: [u8; 9] = data.read(at)?;
        if marker != 0xff {
            return None;
        }
        match kind {
            // Fill bytes, and markers without a body.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            0xc0..=0xcf if !matches!(kind, 0xc4 | 0xc8 | 0xcc) => {
                return Some(Resolution {
                    width: u16::from_be_bytes([w0, w1]).into(),
                    height: u16::from_be_bytes([h0, h1]).into(),
                });
            }
            _ => at += 2 + usize::from(u16::from_be_bytes([l0, l1])).max(2),
        }
    }
    None
}

/// Base64 text, read at any place without decoding what lies before.
struct Base64<'a> {
    data: &'a [u8],
}

impl Base64<'_> {
    /// Bytes `at..at + N` of the decoded data; N is at most 24.
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let first = at / 3;
        let groups = (at + N).div_ceil(3) - first;
        let text = self.data.get(first.checked_mul(4)?..)?;
        let text = &text[..text.len().min(groups * 4)];
        let mut decoded = [0; 32];
        let len = BASE64.decode_slice(text, &mut decoded).ok()?;
        decoded[..len].get(at % 3..at % 3 + N)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;

    use super::*;

    fn url(data: &[u8]) -> String {
        format!("data:image/any;base64,{}", general_purpose::STANDARD.encode(data))
    }

    fn size(data: &[u8]) -> Option<(u32, u32)> {
        image_size(url(data).as_bytes()).map(|size| (size.width, size.height))
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &width.to_be_bytes(), &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat()
    }

    fn jpeg_with(blocks: &[(u8, usize)], width: u16, height: u16) -> Vec<u8> {
        let mut data = vec![0xff, 0xd8];
        for (kind, len) in blocks {
            data.extend([0xff, *kind]);
            data.extend((*len as u16 + 2).to_be_bytes());
            data.extend(std::iter::repeat_n(0xab, *len));
        }
        data.extend([0xff, 0xc2, 0, 17, 8]);
        data.extend(height.to_be_bytes());
        data.extend(width.to_be_bytes());
        data.extend([3; 60]);
        data
    }

    #[test]
    fn three_formats() {
        assert_eq!(size(&png(1920, 1080)), Some((1920, 1080)));
        let bare = general_purpose::STANDARD.encode(png(1920, 1080));
        assert_eq!(image_size(bare.as_bytes()).map(|size| (size.width, size.height)), Some((1920, 1080)));
        assert_eq!(size(b"GIF89a\x40\x01\xf0\x00\0\0\0aaaaaaaaaaaaaaa"), Some((320, 240)));
        assert_eq!(size(&jpeg_with(&[], 640, 480)), Some((640, 480)));
        assert_eq!(size(&jpeg_with(&[(0xe0, 14), (0xe1, 30_001), (0xdb, 65), (0xc4, 7)], 4_000, 3_000)), Some((4_000, 3_000)));
    }

    #[test]
    fn data_cut_anywhere_and_nonsense_give_nothing_and_do_not_panic() {
        for data in [png(10, 10), jpeg_with(&[(0xe0, 14)], 10, 10)] {
            let whole = url(&data);
            for end in 0..whole.len() {
                let _size = image_size(&whole.as_bytes()[..end]);
            }
        }
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..2_000 {
            let mut data: Vec<u8> = (0..random.usize(..90)).map(|_| random.u8(..)).collect();
            data.splice(..0, [0xff, 0xd8, 0xff]);
            let _size = size(&data);
        }
        assert_eq!(size(&png(0, 10)), None);
        assert_eq!(image_size(b"https://x/y.png"), None);
        assert_eq!(image_size(b"data:image/png,abc"), None);
        assert_eq!(image_size("data:image/png;base64,é€".as_bytes()), None);
    }
}
