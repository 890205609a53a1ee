//! Streams that are whole, cut, hostile or arbitrary.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;

const LIMIT: Limit = Limit { bytes: 1024 * 1024, code: Code::ValueTooLarge };

fn decoded(encoding: Encoding, wire: &[u8]) -> Result<Bytes, Code> {
    decoded_within(encoding, wire, &Budget::new(16 * 1024 * 1024))
}

fn decoded_within(encoding: Encoding, wire: &[u8], budget: &Budget) -> Result<Bytes, Code> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let decoded = runtime.block_on(decode(encoding, wire, LIMIT, budget));
    decoded.map(|whole| whole.bytes).map_err(|problem| problem.code())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut wire = vec![0; zstd_safe::compress_bound(bytes.len())];
    let written = zstd_safe::compress(wire.as_mut_slice(), bytes, 3).unwrap();
    wire.truncate(written);
    wire
}

fn encode(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Gzip => gzip(bytes),
        Encoding::Zstd => zstd(bytes),
    }
}

const BOTH: [Encoding; 2] = [Encoding::Gzip, Encoding::Zstd];

/// A frame of zstd that is skipped.
fn skippable(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    [&(ZSTD_MAGIC_SKIPPABLE | 7).to_le_bytes()[..], &length, bytes].concat()
}

/// A frame of zstd with a window of `2^(10 + exponent)` bytes, that holds "ab".
fn windowed(exponent: u8) -> Vec<u8> {
    // A raw block of two bytes, the last one.
    [&ZSTD_MAGIC.to_le_bytes()[..], &[0, exponent << 3, 0b1_0001, 0, 0], b"ab"].concat()
}

#[test]
fn one_byte_over_the_limit_is_too_much_and_the_limit_is_not() {
    for encoding in BOTH {
        let most = vec![b'x'; LIMIT.bytes];
        assert_eq!(decoded(encoding, &encode(encoding, &most)).as_deref(), Ok(most.as_slice()));
        let more = vec![b'x'; LIMIT.bytes + 1];
        assert_eq!(decoded(encoding, &encode(encoding, &more)), Err(Code::ValueTooLarge), "{encoding:?}");
    }
}

#[test]
fn a_bomb_is_given_up_at_the_limit_and_within_the_budget() {
    for encoding in BOTH {
        let bomb = encode(encoding, &vec![0; 256 * 1024 * 1024]);
        assert!(bomb.len() < 300 * 1024, "{}", bomb.len());
        // Twice the limit and what the steps add: it would not do for what the bomb decodes to.
        let budget = Budget::new(2 * LIMIT.bytes + 2 * STATE_BYTES + 2 * STEP_OUT_BYTES);
        assert_eq!(decoded_within(encoding, &bomb, &budget), Err(Code::ValueTooLarge), "{encoding:?}");
    }
}

#[test]
fn decoded_bytes_count_against_the_budget() {
    for encoding in BOTH {
        let wire = encode(encoding, &vec![b'x'; LIMIT.bytes]);
        let budget = Budget::new(LIMIT.bytes);
        assert_eq!(decoded_within(encoding, &wire, &budget), Err(Code::Overloaded), "{encoding:?}");
        assert_eq!(
            decoded_within(encoding, &encode(encoding, b"small"), &budget).as_deref(),
            Ok(&b"small"[..])
        );
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_or_goes_on_is_refused() {
    let bytes: Vec<u8> = (0..3000_u32).flat_map(u32::to_le_bytes).collect();
    for encoding in BOTH {
        let wire = encode(encoding, &bytes);
        for end in 0..wire.len() {
            assert_eq!(decoded(encoding, &wire[..end]), Err(Code::BodyInvalid), "{encoding:?} cut at {end}");
        }
        for garbage in [&b"\0"[..], b"garbage", b"\0\0\0\0\0\0\0\0", b"\x1f\x8b"] {
            let wire = [&wire, garbage].concat();
            assert_eq!(decoded(encoding, &wire), Err(Code::BodyInvalid), "{encoding:?} and {garbage:?}");
        }
    }
}

#[test]
fn members_and_frames_are_joined_and_skippable_ones_are_skipped() {
    let joined = [gzip(b"one, "), gzip(b""), gzip(b"two")].concat();
    assert_eq!(decoded(Encoding::Gzip, &joined).as_deref(), Ok(&b"one, two"[..]));
    let frames =
        [skippable(b"index"), zstd(b"one, "), skippable(b""), zstd(b""), zstd(b"two"), skippable(&[0; 9])];
    assert_eq!(decoded(Encoding::Zstd, &frames.concat()).as_deref(), Ok(&b"one, two"[..]));
    let cut = skippable(&[0; 9]);
    assert_eq!(decoded(Encoding::Zstd, &cut[..cut.len() - 1]), Err(Code::BodyInvalid));
}

#[test]
fn a_window_of_zstd_is_at_most_eight_mebibytes() {
    assert_eq!(decoded(Encoding::Zstd, &windowed(13)).as_deref(), Ok(&b"ab"[..]));
    for exponent in 14..32 {
        assert_eq!(decoded(Encoding::Zstd, &windowed(exponent)), Err(Code::BodyInvalid), "{exponent}");
    }
}

#[test]
fn formats_from_before_the_standard_and_dictionaries_are_refused() {
    // Of version 0.7, whole: the library alone would take it.
    let before = [0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0x40, 0, 2, b'a', b'b', 0xc0, 0, 0];
    assert_eq!(decoded(Encoding::Zstd, &before), Err(Code::BodyInvalid));
    // Dictionary 7, a window, a raw block.
    let dictionary = [&ZSTD_MAGIC.to_le_bytes()[..], &[1, 0, 7, 0b1_0001, 0, 0], b"ab"].concat();
    assert_eq!(decoded(Encoding::Zstd, &dictionary), Err(Code::BodyInvalid));
}

#[test]
fn input_without_output_is_given_up() {
    let empty_members = gzip(b"").repeat(2 * OVERHEAD_BYTES / 20);
    assert_eq!(decoded(Encoding::Gzip, &empty_members), Err(Code::BodyInvalid));
    let header = &gzip(b"")[..10];
    // Stored blocks of no byte; the last one; checksum and length of nothing.
    let end = [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    let empty_blocks = |count: usize| [header, &[0, 0, 0, 0xff, 0xff].repeat(count), &end].concat();
    assert_eq!(decoded(Encoding::Gzip, &empty_blocks(9)).as_deref(), Ok(&b""[..]));
    assert_eq!(decoded(Encoding::Gzip, &empty_blocks(2 * OVERHEAD_BYTES / 5)), Err(Code::BodyInvalid));
    for frames in [zstd(b"").repeat(OVERHEAD_BYTES), skippable(&vec![0; 2 * OVERHEAD_BYTES])] {
        assert_eq!(decoded(Encoding::Zstd, &[frames, zstd(b"x")].concat()), Err(Code::BodyInvalid));
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut wire = gzip(b"bytes");
    let crc = wire.len() - 8;
    wire[crc] ^= 1;
    assert_eq!(decoded(Encoding::Gzip, &wire), Err(Code::BodyInvalid));
}

proptest! {
    #[test]
    fn whatever_was_encoded_comes_back(
        bytes in prop::collection::vec(any::<u8>(), 0..4000), times in 1usize..200, gzip: bool,
    ) {
        let encoding = if gzip { Encoding::Gzip } else { Encoding::Zstd };
        let bytes = bytes.repeat(times);
        prop_assert_eq!(decoded(encoding, &encode(encoding, &bytes)), Ok(Bytes::from(bytes)));
    }

    #[test]
    fn bytes_that_do_not_compress_are_never_too_long(seed: u64, bytes in 0usize..300_000, gzip: bool) {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut random = vec![0; bytes];
        StdRng::seed_from_u64(seed).fill(random.as_mut_slice());
        let encoding = if gzip { Encoding::Gzip } else { Encoding::Zstd };
        let wire = encode(encoding, &random);
        prop_assert!(wire.len() <= wire_bytes_max(bytes));
        prop_assert_eq!(decoded(encoding, &wire), Ok(Bytes::from(random)));
    }

    #[test]
    fn any_bytes_never_panic(wire in prop::collection::vec(any::<u8>(), 0..300), gzip: bool) {
        let encoding = if gzip { Encoding::Gzip } else { Encoding::Zstd };
        let _read = decoded(encoding, &wire);
    }

    #[test]
    fn a_changed_stream_never_panics_and_never_passes_the_limit(
        at: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index, gzip: bool,
    ) {
        let encoding = if gzip { Encoding::Gzip } else { Encoding::Zstd };
        let bytes: Vec<u8> = (0..5000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let mut wire = encode(encoding, &bytes);
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        wire.truncate(cut.index(wire.len()) + 1);
        if let Ok(bytes) = decoded(encoding, &wire) {
            prop_assert!(bytes.len() <= LIMIT.bytes);
        }
    }
}
