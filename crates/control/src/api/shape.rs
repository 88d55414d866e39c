//! What a handler takes and answers, read off its own signature: what the description of the API is made from, so that
//! it cannot say anything else than what the code does.

use super::extract::{Answer, JsonOf, PathOf, QueryOf, Tagged};
use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::Handle;
use crate::error::CallError;
use axum::extract::{Request, State};
use axum::response::Response;
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// How a schema is made.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What stands in a body.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Content {
    /// Nothing.
    #[default]
    None,
    /// A JSON document.
    Json(SchemaOf),
    /// A blob's bytes.
    Bytes,
}

/// What a handler takes and answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    /// Names in the path: one schema, or a tuple's where there are several.
    pub(super) path: Option<SchemaOf>,
    /// An object whose properties are the keys of the query.
    pub(super) query: Option<SchemaOf>,
    pub(super) body: Content,
    pub(super) answer: Content,
    /// It takes `If-Match` and `If-None-Match`.
    pub(super) is_conditional: bool,
    /// Its answer has an `ETag`.
    pub(super) is_tagged: bool,
}

/// Something that a handler takes.
pub(super) trait Part {
    /// Says so.
    fn describe(shape: &mut Shape);
}

/// Something that a handler answers.
pub(super) trait Outcome {
    /// Says so.
    fn describe(shape: &mut Shape);
}

/// A handler that says what it takes and answers. `Parts` are its arguments.
pub(super) trait Described<Parts> {
    /// Says it.
    fn shape() -> Shape;
}

impl Part for State<Handle> {
    fn describe(_: &mut Shape) {}
}

impl Part for Actor {
    fn describe(_: &mut Shape) {}
}

impl Part for Condition {
    fn describe(shape: &mut Shape) {
        shape.is_conditional = true;
    }
}

impl Part for Request {
    fn describe(shape: &mut Shape) {
        shape.body = Content::Bytes;
    }
}

impl<T: JsonSchema> Part for PathOf<T> {
    fn describe(shape: &mut Shape) {
        shape.path = Some(T::json_schema);
    }
}

impl<T: JsonSchema> Part for QueryOf<T> {
    fn describe(shape: &mut Shape) {
        shape.query = Some(T::json_schema);
    }
}

impl<T: JsonSchema> Part for JsonOf<T> {
    fn describe(shape: &mut Shape) {
        shape.body = Content::Json(SchemaGenerator::subschema_for::<T>);
    }
}

impl<T: JsonSchema> Outcome for Answer<T> {
    fn describe(shape: &mut Shape) {
        shape.answer = Content::Json(SchemaGenerator::subschema_for::<T>);
    }
}

impl<T: JsonSchema> Outcome for Tagged<T> {
    fn describe(shape: &mut Shape) {
        shape.answer = Content::Json(SchemaGenerator::subschema_for::<T>);
        shape.is_tagged = true;
    }
}

impl Outcome for Response {
    fn describe(shape: &mut Shape) {
        shape.answer = Content::Bytes;
    }
}

impl<T: Outcome> Outcome for Result<T, CallError> {
    fn describe(shape: &mut Shape) {
        T::describe(shape);
    }
}

macro_rules! described {
    ($($part:ident),*) => {
        impl<F, Fut, R, $($part),*> Described<($($part,)*)> for F
        where
            F: Fn($($part),*) -> Fut,
            Fut: Future<Output = R>,
            R: Outcome,
            $($part: Part,)*
        {
            fn shape() -> Shape {
                let mut shape = Shape::default();
                $($part::describe(&mut shape);)*
                R::describe(&mut shape);
                shape
            }
        }
    };
}
described!(A);
described!(A, B);
described!(A, B, C);
described!(A, B, C, D);
described!(A, B, C, D, E);
described!(A, B, C, D, E, G);
