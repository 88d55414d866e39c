//! Databases that are good, replaced, damaged and of another kind.

use super::*;
use penstock_testkit::GeoFile;
use proptest::prelude::*;

/// When the database was built; `None` without one.
fn built(geo: &Geo) -> Option<u64> {
    geo.current.load().as_ref().map(|atlas| atlas.reader.metadata().build_epoch)
}

fn europe(built: u64) -> GeoFile {
    GeoFile::new("GeoLite2-City", built)
        .with("192.0.2.0/24", "UA")
        .with("192.0.2.128/25", "UA-43")
        .with("198.51.100.0/24", "DE-BE")
        .with("10.0.0.0/8", "US")
        .with("203.0.113.0/24", "XKX")
        .with("2001:db8::/32", "FR")
}

fn written(dir: &Path, file: &GeoFile) -> PathBuf {
    let path = dir.join("places.mmdb");
    std::fs::write(&path, file.bytes()).expect("written");
    path
}

fn place(geo: &Geo, address: &str) -> Option<String> {
    geo.place(address.parse().expect("an address")).map(|place| place.0.to_string())
}

#[test]
fn an_address_is_in_its_narrowest_region_or_nowhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let geo = Geo::open(Some(&written(dir.path(), &europe(7)))).expect("a good database");
    for (address, expected) in [
        ("192.0.2.1", Some("UA")),
        ("192.0.2.200", Some("UA-43")),
        ("::ffff:192.0.2.200", Some("UA-43")),
        ("198.51.100.9", Some("DE-BE")),
        ("2001:db8::1", Some("FR")),
        ("2001:db9::1", None),
        ("8.8.8.8", None),
        // The database says otherwise, and means somebody else's network.
        ("10.1.2.3", None),
        ("127.0.0.1", None),
        ("::1", None),
        ("fd00::1", None),
        ("fe80::1", None),
        // No country of ISO 3166-1 has three letters.
        ("203.0.113.1", None),
    ] {
        assert_eq!(place(&geo, address).as_deref(), expected, "{address}");
    }
    assert_eq!(built(&geo), Some(7));
    let none = Geo::open(None).expect("no database is fine");
    assert_eq!((place(&none, "192.0.2.1"), built(&none)), (None, None));
}

#[test]
fn what_cannot_be_used_is_named_and_leaves_the_one_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = written(dir.path(), &europe(1));
    let geo = Geo::open(Some(&path)).expect("a good database");
    let good = europe(2).bytes();
    let operators = GeoFile::new("GeoLite2-ASN", 3).with_operator("192.0.2.0/24", "Example").bytes();
    let cut = |bytes: usize| good[..bytes].to_vec();
    for (bad, words) in [
        (Vec::new(), "no sound MaxMind-format database"),
        (b"not a database".to_vec(), "no sound MaxMind-format database"),
        (cut(good.len() / 2), "no sound MaxMind-format database"),
        (cut(good.len() - 1), "no sound MaxMind-format database"),
        ([&good[..100], &good[101..]].concat(), "no sound MaxMind-format database"),
        (operators, "is of type \"GeoLite2-ASN\" and tells no countries"),
        (GeoFile::new("GeoLite2-City", 4).bytes(), "tells no countries"),
    ] {
        std::fs::write(&path, &bad).expect("written");
        let error = Geo::open(Some(&path)).expect_err("refused").to_string();
        assert!(error.contains(words) && error.contains("places.mmdb"), "{error}");
        assert_eq!(check_file(&path).expect_err("refused").to_string(), error);
        geo.reload(Some(&path));
        assert_eq!((place(&geo, "192.0.2.1").as_deref(), built(&geo)), (Some("UA"), Some(1)));
    }
    std::fs::remove_file(&path).expect("removed");
    assert!(Geo::open(Some(&path)).expect_err("refused").unreadable().is_some());
    geo.reload(Some(&path));
    assert_eq!(built(&geo), Some(1));
    std::fs::write(&path, &good).expect("written");
    geo.reload(Some(&path));
    assert_eq!(built(&geo), Some(2));
    geo.reload(None);
    assert_eq!((place(&geo, "192.0.2.1"), built(&geo)), (None, None));
}

#[test]
fn a_connection_remembers_until_there_is_another_database() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = written(dir.path(), &europe(1));
    let geo = Geo::open(Some(&path)).expect("a good database");
    let (memo, nobody) = (PlaceMemo::default(), PlaceMemo::default());
    let address = |text: &str| Some(text.parse().expect("an address"));
    let ask = |memo: &PlaceMemo, text| geo.place_of(address(text), memo).map(|place| place.0.to_string());
    assert_eq!(ask(&memo, "192.0.2.200").as_deref(), Some("UA-43"));
    assert_eq!(ask(&memo, "198.51.100.9").as_deref(), Some("UA-43"), "it was not looked up again");
    assert_eq!((ask(&nobody, "8.8.8.8"), ask(&nobody, "192.0.2.1")), (None, None), "nowhere is remembered, too");
    assert_eq!(geo.place_of(None, &PlaceMemo::default()), None);
    geo.reload(Some(&path));
    assert_eq!(ask(&memo, "198.51.100.9").as_deref(), Some("UA-43"), "the same file is not another database");
    written(dir.path(), &GeoFile::new("GeoLite2-Country", 2).with("8.0.0.0/8", "US"));
    geo.reload(Some(&path));
    assert_eq!((ask(&memo, "192.0.2.200"), ask(&nobody, "8.8.8.8").as_deref()), (None, Some("US")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A file that was altered anywhere is refused, or answers without a panic.
    #[test]
    fn no_bytes_break_us(at in 0usize..4096, value: u8, address: u32) {
        let mut bytes = europe(1).bytes();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(reader) = check(bytes, Path::new("x")) {
            let atlas = Atlas { reader, hash: blake3::hash(b""), generation: 1 };
            let _ = atlas.place(IpAddr::V4(address.into()));
        }
    }
}
