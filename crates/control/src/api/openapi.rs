//! The description of the admin API (OpenAPI 3.1), made of the table of routes and the schemas of their types.
//!
//! Everything in it comes from the code that does it. It must not know a route by name.

use super::shape::{Content, SchemaOf};
use super::table::{Route, Routes};
use crate::permit::allows;
use http::Method;
use penstock_core::api::ProblemDocument;
use penstock_core::credential::Role;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The document.
pub(super) fn document(routes: &Routes) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for route in routes.iter() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route, &mut schemas);
    }
    let problem = schemas.subschema_for::<ProblemDocument>();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What publishers, desks and edges ask of a node. Errors are problem documents (RFC 9457) with a stable code.",
        },
        "security": [{ "credential": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": {
                "Problem": {
                    "description": "A problem document (RFC 9457).",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
            "securitySchemes": {
                "credential": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The node's admin token, or the secret of a credential.",
                },
            },
        },
    });
    plain_words(&mut document);
    document
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let shape = &route.shape;
    let mut parameters = path_parameters(route, schemas);
    parameters.extend(shape.query.map(|of| query_parameters(of, schemas)).unwrap_or_default());
    if shape.is_conditional {
        let tags = "An entity tag, several, or *: what must be there, or must not, for the call to be done.";
        parameters.extend(["If-Match", "If-None-Match"].map(|name| header(name, tags, 4096)));
    }
    if route.is_repeatable() {
        let words = "The same key with the same body is done once within a day, and answered as the first time.";
        parameters.push(header("Idempotency-Key", words, 128));
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [tag_of(route.path)],
        "x-roles": roles(route),
        "parameters": parameters,
        "responses": responses(route, schemas),
    });
    match shape.body {
        Content::None => {}
        body => {
            operation["requestBody"] =
                json!({ "required": true, "content": content(body, "application/octet-stream", schemas) })
        }
    }
    operation
}

/// The roles that may call it.
fn roles(route: &Route) -> Vec<Role> {
    Role::ALL.into_iter().filter(|role| allows(*role, route.permission)).collect()
}

/// Names in the path; where there are several, their schemas are the items of a tuple's.
fn path_parameters(route: &Route, schemas: &mut SchemaGenerator) -> Vec<Value> {
    let names: Vec<&str> = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
    let Some(of) = route.shape.path else { return Vec::new() };
    let schema = of(schemas).to_value();
    let several = schema.get("prefixItems").and_then(Value::as_array).cloned();
    let each = several.unwrap_or_else(|| vec![schema]);
    let parameter = |(name, schema)| json!({ "name": name, "in": "path", "required": true, "schema": schema });
    names.into_iter().zip(each).map(parameter).collect()
}

fn query_parameters(of: SchemaOf, schemas: &mut SchemaGenerator) -> Vec<Value> {
    let schema = of(schemas).to_value();
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        let words = schema.as_object_mut().and_then(|schema| schema.remove("description")).unwrap_or_else(|| json!(""));
        let is_required = required.contains(&json!(name));
        let schema = without_null(schema);
        json!({ "name": name, "in": "query", "required": is_required, "description": words, "schema": schema })
    };
    properties.into_iter().map(parameter).collect()
}

/// What is left out of a query is not there; nobody writes null.
fn without_null(mut schema: Value) -> Value {
    let is_null = |value: &Value| value == "null" || value.get("type").is_some_and(|kind| kind == "null");
    if let Some(kinds) = schema.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| !is_null(kind));
        if let [kind] = kinds.as_slice() {
            schema["type"] = kind.clone();
        }
    }
    if let Some(choices) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        choices.retain(|choice| !is_null(choice));
        if let [choice] = choices.as_slice() {
            return choice.clone();
        }
    }
    schema
}

fn header(name: &str, words: &str, bytes_max: u64) -> Value {
    let schema = json!({ "type": "string", "minLength": 1, "maxLength": bytes_max });
    json!({ "name": name, "in": "header", "required": false, "description": words, "schema": schema })
}

fn responses(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    for status in route.statuses {
        let mut response = json!({ "description": if *status == 201 { "Made." } else { "Done." } });
        if !matches!(route.shape.answer, Content::None) {
            response["content"] = content(route.shape.answer, route.media, schemas);
        }
        if route.shape.is_tagged {
            let words = "What If-Match and If-None-Match of a later call may name.";
            response["headers"] = json!({ "ETag": { "description": words, "schema": { "type": "string" } } });
        }
        responses.insert(status.to_string(), response);
    }
    for status in problems(route) {
        responses.insert(status.to_string(), json!({ "$ref": "#/components/responses/Problem" }));
    }
    Value::Object(responses)
}

/// The statuses of refusals and failures that a route of this form may answer.
fn problems(route: &Route) -> Vec<u16> {
    let shape = &route.shape;
    let mut statuses = vec![400, 401, 403, 404, 500, 503];
    if route.method != Method::GET {
        // 413 is for bodies, and for one more of something that there may be so many of.
        statuses.extend([409, 413, 422, 507]);
    }
    if shape.is_conditional {
        statuses.push(412);
    }
    statuses.sort_unstable();
    statuses
}

fn content(of: Content, media: &str, schemas: &mut SchemaGenerator) -> Value {
    match of {
        Content::None => json!({}),
        Content::Json(schema) => json!({ "application/json": { "schema": schema(schemas) } }),
        Content::Bytes => json!({ media: { "schema": Schema::default() } }),
    }
}

/// `GET /admin/v1/accounts/{id}` is `get_accounts_id`.
fn operation_id(route: &Route) -> String {
    let words: Vec<&str> = parts(route.path).map(|part| part.trim_matches(['{', '}'])).collect();
    format!("{}_{}", route.method.as_str().to_ascii_lowercase(), words.join("_")).replace(['.', '-'], "_")
}

fn tag_of(path: &str) -> &str {
    parts(path).next().unwrap_or("node")
}

/// The parts of a path behind its version.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split_once("/v1/").map_or(path, |(_, rest)| rest).split('/')
}

/// The documentation of types is written for rustdoc, whose links mean nothing here.
fn plain_words(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "description" => {
                        *text = without_links(text);
                    }
                    other => plain_words(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_words),
        _ => {}
    }
}

/// ``[`crate::limits::ROWS_MAX`]`` is written `ROWS_MAX`.
fn without_links(text: &str) -> String {
    let text = text.replace("[`", "`").replace("`]", "`");
    let mut pieces = text.split("crate::");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let path = piece.find(|c: char| !c.is_alphanumeric() && !"_:".contains(c)).unwrap_or(piece.len());
        plain.push_str(piece[..path].rsplit("::").next().unwrap_or_default());
        plain.push_str(&piece[path..]);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_become_names() {
        assert_eq!(without_links("At most [`crate::limits::A_MAX`], see [`Terms`]."), "At most `A_MAX`, see `Terms`.");
        assert_eq!(without_links("nothing to do: a::b"), "nothing to do: a::b");
    }
}
