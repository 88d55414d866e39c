//! Token shape: any header value is refused, or taken apart into what makes it up again, and never printed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_core::limits::TOKEN_BYTES_MAX;
use penstock_core::token::RawToken;

fuzz_target!(|data: &[u8]| {
    let Ok(token) = RawToken::from_authorization(data) else {
        // Whatever is no header value is no token either, unless it lacks the scheme only.
        if let Ok(text) = std::str::from_utf8(data) {
            let with_scheme = format!("Bearer {text}");
            assert_eq!(
                RawToken::from_authorization(with_scheme.as_bytes()).ok(),
                RawToken::new(text.trim_ascii()).ok()
            );
        }
        return;
    };
    assert!(token.reveal().len() <= TOKEN_BYTES_MAX);
    let parts = [token.header(), token.payload(), token.signature()];
    assert!(parts.iter().all(|part| !part.is_empty() && part.len() % 4 != 1 && !part.contains('.')));
    assert_eq!(parts.join("."), token.reveal());
    assert_eq!(token.signed(), format!("{}.{}", token.header(), token.payload()));
    assert_eq!(RawToken::new(token.reveal()).as_ref(), Ok(&token));
    assert_eq!(format!("{token:?}"), "RawToken(****)");
});
