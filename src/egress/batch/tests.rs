use super::*;
use crate::{
    channel::shared::{Channel, testing},
    config::model::Ids,
    sse::event::Event,
};

const CHUNKED: Form = Form {
    framing: Framing::Chunked,
    gap: GapForm::Event,
};
const PLAIN: Form = Form {
    framing: Framing::Plain,
    gap: GapForm::Comment,
};
const CLOSE: Form = Form {
    framing: Framing::Plain,
    gap: GapForm::Close,
};

/// A live channel of two events, a gap, one event and the app's end.
fn channel() -> Channel {
    let channel = testing::channel(|settings| settings.ids = Ids::Unique);
    let event = |data: &'static str| Event {
        data: Bytes::from_static(data.as_bytes()),
        ..Event::default()
    };
    channel.join(None, Millis(0)).unwrap();
    assert!(channel.opened(&http::HeaderMap::new(), Millis(0)));
    channel.publish(&[event("a"), event("bb")], Millis(7));
    channel.cut(Millis(8));
    assert!(channel.opened(&http::HeaderMap::new(), Millis(9)));
    channel.publish(&[event("c")], Millis(10));
    channel.ended(Millis(11));
    channel
}

fn batch(after: u64, until: u64) -> Box<Batch> {
    match Batch::gather(&channel(), after, until, usize::MAX) {
        Gathered::Batch(batch) => batch,
        Gathered::Nothing | Gathered::Evicted => panic!("nothing after {after}"),
    }
}

fn text(laid: &Laid) -> String {
    String::from_utf8(laid.bytes.to_vec()).unwrap()
}

#[test]
fn a_batch_is_laid_out_for_each_form() {
    let all = batch(0, 9);
    assert_eq!((all.after, all.last, all.ends), (0, 5, true));
    assert_eq!(all.received, Millis(7));
    let gap = r#"{"reason":"upstream_cut","from":null,"to":null,"missed":null}"#;
    assert_eq!(
        text(all.laid(PLAIN).unwrap()),
        format!("data: a\n\ndata: bb\n\n: sidestream-gap {gap}\ndata: c\n\n")
    );
    let chunked = text(all.laid(CHUNKED).unwrap());
    assert!(
        chunked.starts_with("9\r\ndata: a\n\n\r\na\r\ndata: bb\n\n\r\n"),
        "{chunked}"
    );
    assert!(chunked.contains("event: sidestream-gap\n"));
    let close = all.laid(CLOSE).unwrap();
    assert_eq!(
        (text(close).as_str(), close.closes_at_gap),
        ("data: a\n\ndata: bb\n\n", true)
    );
}

#[test]
fn a_batch_stops_where_it_is_told() {
    assert_eq!(batch(0, 1).last, 1);
    assert_eq!(batch(3, 4).last, 4);
    let gather = |after, bytes_max| Batch::gather(&channel(), after, 9, bytes_max);
    assert!(matches!(gather(5, usize::MAX), Gathered::Nothing));
    for (bytes_max, last) in [(1, 1), (14, 1), (15, 2), (30, 3)] {
        let Gathered::Batch(batch) = gather(0, bytes_max) else {
            panic!("there is something");
        };
        assert_eq!(
            batch.last, last,
            "the entry that reaches {bytes_max} bytes is the last"
        );
    }
}

#[test]
fn a_partial_write_is_resumed_at_the_byte() {
    let all = batch(0, 2);
    for form in [PLAIN, CHUNKED] {
        let laid = all.laid(form).unwrap();
        for written in 0..=laid.bytes.len() {
            let Place { cursor, rest } = all.place(laid, written);
            let mut whole = laid.bytes[..written].to_vec();
            whole.extend_from_slice(&rest);
            if cursor < 2 {
                let tail = batch(cursor, 2);
                whole.extend_from_slice(&tail.laid(form).unwrap().bytes);
            }
            assert_eq!(whole, laid.bytes, "{form:?} after {written} bytes");
            assert!(rest.len() < 20, "at most one event is pinned");
        }
    }
}
