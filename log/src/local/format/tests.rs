//! The layout, byte for byte, and that decoding undoes encoding.

use proptest::{collection::vec, option, prelude::*};

use super::*;

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn raw() -> impl Strategy<Value = Raw> {
    let headers = vec((".{0,9}".prop_map(ByteString::from), bytes(20)), 0..4);
    let parts = (option::of(bytes(40)), headers, option::of(bytes(80)));
    parts.prop_map(|(key, headers, value)| Raw { key, headers, value })
}

proptest! {
    #[test]
    fn records_come_back_as_they_were_put(records in vec(raw(), 0..9)) {
        let mut block = Vec::new();
        for raw in &records {
                put_record(raw, &mut block);
            }
        prop_assert_eq!(block.len(), records.iter().map(record_bytes).sum::<usize>());
        let mut block = Bytes::from(block);
        for raw in records {
            prop_assert_eq!(take_record(&mut block), Ok(raw));
        }
        prop_assert!(block.is_empty() && take_record(&mut block).is_err());
    }

    #[test]
    fn no_bytes_make_decoding_panic(garbage in vec(any::<u8>(), 0..200), mark: u64, position: u64) {
        let _bad = SegmentHeader::decode(&garbage, 3);
        let _bad = GroupHeader::decode(&garbage);
        let _bad = group_extent(&[&mark.to_le_bytes(), &position.to_le_bytes(), &garbage[..]].concat(), mark, position);
        let _bad = take_record(&mut Bytes::from(garbage));
    }
}

#[test]
fn the_layout_of_a_segment_is_fixed() {
    let header = SegmentHeader {
        sequence: 2,
        mark: 0x0102_0304_0506_0708,
        previous_mark: 9,
        time: UnixMillis(10),
        first: vec![Offset(11)],
    };
    let bytes = header.encode();
    assert_eq!(bytes.len(), 4096);
    assert_eq!(
        bytes[..32],
        *b"MILLPOND\x01\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01"
    );
    assert_eq!(SegmentHeader::decode(&bytes, 1), Ok(header));
    let block = Entry { partition: PartitionId(1), count: 2, first: Offset(3), start: 64, length: 8, crc: 5 };
    let group = GroupHeader { time: UnixMillis(6), length: 72, blocks: vec![block] };
    let mut bytes = Vec::new();
    group.encode(7, 4096, &mut bytes);
    assert_eq!(bytes.len(), group_header_bytes(1));
    assert_eq!(group_extent(&bytes, 7, 4096), Ok((64, 72)));
    assert_eq!(crc32c(&bytes[..60]).to_le_bytes(), bytes[60..]);
    assert_eq!(GroupHeader::decode(&bytes), Ok(group));
}
