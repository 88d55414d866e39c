//! Pages of lists: how many rows one has, and where the next begins.

use penstock_core::limits::PAGE_ROWS_MAX;

/// How many rows a page has: what was asked for, 1 to [`PAGE_ROWS_MAX`].
pub(crate) fn page_rows(wanted: Option<u64>) -> usize {
    let wanted = wanted.map_or(PAGE_ROWS_MAX, |rows| usize::try_from(rows).unwrap_or(PAGE_ROWS_MAX));
    wanted.clamp(1, PAGE_ROWS_MAX)
}

/// Cuts the row too many that was read to see whether there is another page, and says behind what that one begins.
pub(crate) fn cut_page<T, K>(rows: &mut Vec<T>, limit: usize, key: impl FnOnce(&T) -> K) -> Option<K> {
    let is_last = rows.len() <= limit;
    rows.truncate(limit);
    if is_last { None } else { rows.last().map(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_and_the_last_has_no_next() {
        assert_eq!([None, Some(0), Some(7), Some(u64::MAX)].map(page_rows), [1000, 1, 7, 1000]);
        let mut rows = vec![1, 2, 3];
        assert_eq!((cut_page(&mut rows, 2, |row| *row), rows), (Some(2), vec![1, 2]));
        let mut rows = vec![1, 2];
        assert_eq!((cut_page(&mut rows, 2, |row| *row), rows), (None, vec![1, 2]));
    }
}
