//! The description of the API, and answers held against it: a small reading of JSON Schema 2020-12, as far as the
//! description uses it.

use crate::support::{Engine, Reply, World, send};
use axum::Router;
use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use std::sync::OnceLock;

crate::on_both_engines! { the_description_names_what_it_says_and_leaves_nothing_dangling }

static DOCUMENT: OnceLock<Value> = OnceLock::new();

/// The description, as any router gives it.
pub(crate) async fn document(router: &Router) -> &'static Value {
    if let Some(document) = DOCUMENT.get() {
        return document;
    }
    let request = Request::get("/openapi.json").body(Body::empty()).expect("a request");
    let document = send(router, request).await.ok::<Value>();
    DOCUMENT.get_or_init(|| document)
}

/// Asserts that an answer is one that the description promises.
pub(crate) fn check(document: &Value, method: &Method, path: &str, reply: &Reply) {
    let status = reply.status.as_u16();
    let Some(item) = item(document, path) else {
        assert!(matches!(status, 401 | 404) || path == "/openapi.json", "{path} is not described and answers {status}");
        return;
    };
    let method = if method == Method::HEAD { Method::GET } else { method.clone() };
    let Some(operation) = item.get(method.as_str().to_ascii_lowercase()) else {
        assert_eq!(status, 405, "{method} {path} is not described");
        return;
    };
    let response = &operation["responses"][status.to_string()];
    assert!(!response.is_null(), "{method} {path} may not answer {status}");
    let response = resolved(document, response);
    let Some(content) = response.get("content") else {
        assert!(reply.body.is_empty(), "{method} {path} {status} has no body");
        return;
    };
    let kind = reply.headers["content-type"].to_str().expect("text");
    let media = &content[kind];
    assert!(!media.is_null(), "{method} {path} {status} may not be {kind}");
    if kind.ends_with("json") && !reply.body.is_empty() {
        let mut wrong = Vec::new();
        walk(document, &media["schema"], &reply.json(), "", &mut wrong);
        assert!(wrong.is_empty(), "{method} {path} {status}: {wrong:?}\n{}", reply.json());
    }
}

/// The path item whose template a path fits; one without names in braces first.
fn item<'d>(document: &'d Value, path: &str) -> Option<&'d Value> {
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let wanted: Vec<&str> = template.split('/').collect();
        let part = |(wanted, part): (&&str, &&str)| wanted == part || (wanted.starts_with('{') && !part.is_empty());
        wanted.len() == parts.len() && wanted.iter().zip(&parts).all(part)
    };
    let paths = document["paths"].as_object().expect("paths");
    paths.get(path).or_else(|| paths.iter().find(|(template, _)| fits(template)).map(|(_, item)| item))
}

fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    let Some(to) = value.get("$ref").and_then(Value::as_str) else { return value };
    let found = document.pointer(to.strip_prefix('#').expect("a reference within the document"));
    found.unwrap_or_else(|| panic!("{to} leads nowhere"))
}

fn walk(document: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let schema = resolved(document, schema);
    let Some(members) = schema.as_object() else {
        if schema == &json!(false) {
            wrong.push(format!("{at}: nothing may stand here"));
        }
        return;
    };
    let holds = |choice: &Value| {
        let mut wrong = Vec::new();
        walk(document, choice, value, at, &mut wrong);
        wrong.is_empty()
    };
    for (keyword, wanted) in members {
        let list = wanted.as_array().map(Vec::as_slice).unwrap_or_default();
        let is_right = match keyword.as_str() {
            "type" => {
                wanted.as_array().map_or_else(|| is_a(value, wanted), |kinds| kinds.iter().any(|k| is_a(value, k)))
            }
            "enum" => list.contains(value),
            "const" => wanted == value,
            "anyOf" => list.iter().any(holds),
            "oneOf" => list.iter().filter(|choice| holds(choice)).count() == 1,
            "allOf" => list.iter().all(holds),
            "required" => value
                .as_object()
                .is_none_or(|object| list.iter().all(|name| object.contains_key(name.as_str().expect("a name")))),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().expect("a number")),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().expect("a number")),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= wanted.as_u64().expect("n")),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= wanted.as_u64().expect("n")),
            _ => true,
        };
        if !is_right {
            wrong.push(format!("{at}: {keyword} {wanted}"));
        }
    }
    if let Some(object) = value.as_object() {
        for (name, member) in object {
            let named = members.get("properties").and_then(|properties| properties.get(name));
            // Maps by name have one pattern, their key's; whether the name fits it is not looked at.
            let by_pattern = || members.get("patternProperties")?.as_object()?.values().next();
            if let Some(schema) = named.or_else(by_pattern).or_else(|| members.get("additionalProperties")) {
                walk(document, schema, member, &format!("{at}/{name}"), wrong);
            }
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(schema) = members.get("items") {
            walk(document, schema, item, &format!("{at}/{index}"), wrong);
        }
    }
}

fn is_a(value: &Value, kind: &Value) -> bool {
    match kind.as_str().expect("a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}

async fn the_description_names_what_it_says_and_leaves_nothing_dangling(engine: Engine) {
    let world = World::new(engine);
    let document = document(&world.socket()).await;
    assert_eq!(document["openapi"], "3.1.0");
    fn visit(document: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                resolved(document, value);
                if let Some(Value::String(text)) = members.get("description") {
                    assert!(!text.contains("[`") && !text.contains("crate::"), "{text}");
                }
                members.values().for_each(|member| visit(document, member));
            }
            Value::Array(items) => items.iter().for_each(|item| visit(document, item)),
            _ => {}
        }
    }
    visit(document, document);
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            assert!(ids.insert(operation["operationId"].as_str().expect("an id")), "{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|words| words.len() > 5), "{method} {path}");
            let parameters = operation["parameters"].as_array().expect("parameters");
            let named = parameters.iter().filter(|one| one["in"] == "path").count();
            assert_eq!(named, path.matches('{').count(), "{method} {path}");
        }
    }
    // What the walk below every other test would miss if it were always content.
    let mut wrong = Vec::new();
    let schema = json!({ "$ref": "#/components/schemas/AccountsAnswer" });
    walk(document, &schema, &json!({ "accounts": [{ "id": 7 }], "next": "" }), "", &mut wrong);
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    let without_credential = Request::get("/openapi.json").body(Body::empty()).expect("a request");
    send(&world.network(), without_credential).await.refused(401, "admin_credentials");
}
