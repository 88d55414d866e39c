//! The feed: any bytes are refused as a line, or are a line that is written back as it was; and lines in any order never
//! get a follower to a number without all before it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_core::feed::{Fold, Line, Order};

fuzz_target!(|data: &[u8]| {
    let mut order = Order::new(None);
    let mut fold = Fold::default();
    let mut known = None;
    for text in data.split(|byte| *byte == b'\n') {
        let Ok(line) = Line::parse(text) else { continue };
        assert_eq!(Line::parse(&line.encode()).as_ref(), Ok(&line));
        if order.take(&line).is_err() {
            continue;
        }
        match line {
            Line::Whole { sequence, .. } => known = Some(sequence),
            Line::Part { sequence, change } => drop(fold.take(sequence, &change, ())),
            Line::Change { sequence, change } => {
                assert_eq!(known.map(|known| known + 1), Some(sequence));
                known = Some(sequence);
                fold.take(sequence, &change, ());
            }
            Line::Hello(_) | Line::State { .. } | Line::Beat { .. } => {}
        }
        assert_eq!(order.last(), known);
        assert_eq!(fold.in_order().len(), fold.len());
    }
});
