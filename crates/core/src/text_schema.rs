//! JSON schemas of the types that are written as text and read themselves: names, hashes, keys, places.
//!
//! Types with derived JSON derive their schema too; these cannot, because only they know their alphabet.

/// `text_schema!(Type, "Name", "pattern or empty", longest)`.
macro_rules! text_schema {
    ($type:ty, $name:expr, $pattern:expr, $max:expr) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn schema_id() -> std::borrow::Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($type)).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let pattern: String = ($pattern).into();
                schemars::json_schema!({ "type": "string", "pattern": pattern, "minLength": 1, "maxLength": $max })
            }
        }
    };
}
pub(crate) use text_schema;
