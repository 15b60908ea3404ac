//! JSON Schema (draft-07) of the file, for editors.
//!
//! The environment may fill in any value. Where a text is wanted a variable is one; elsewhere it would
//! look wrong, so all forms that are not just a text get it as one more, here and nowhere else.

use std::slice;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::raw;

/// A schema's keywords.
type Keywords = Map<String, Value>;

/// Name of the definition that such values refer to.
const VARIABLE: &str = "Variable";

/// What may stand beside a form without being a part of it.
const NOTES: [&str; 3] = ["title", "description", "default"];

/// The schema as JSON.
#[must_use]
pub fn schema() -> String {
    let mut schema = SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<raw::File>();
    let keywords = schema.ensure_object();
    admit_variables(keywords);
    if let Some(Value::Object(definitions)) = keywords.get_mut("definitions") {
        let variable = json!({
            "description": "A value with a variable of the environment: `${NAME}`, `${NAME:-default}`.",
            "type": "string",
            "pattern": r"\$\{.+\}",
        });
        definitions.insert(VARIABLE.to_owned(), variable);
    }
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

fn variable() -> Value {
    json!({ "$ref": format!("#/definitions/{VARIABLE}") })
}

fn admit_variables(schema: &mut Keywords) {
    for key in ["properties", "definitions"] {
        if let Some(Value::Object(named)) = schema.get_mut(key) {
            named.values_mut().for_each(admit_below);
        }
    }
    for key in ["items", "additionalProperties"] {
        schema.get_mut(key).into_iter().for_each(admit_below);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(Value::Array(forms)) = schema.get_mut(key) {
            let is_any_closed = forms.iter().filter_map(Value::as_object).any(is_closed);
            let open = forms
                .iter_mut()
                .filter(|form| form.as_object().is_some_and(|form| !is_closed(form)));
            open.for_each(admit_below);
            forms.extend(is_any_closed.then(variable));
        }
    }
    if is_closed(schema) {
        let (notes, form): (Keywords, Keywords) = std::mem::take(schema)
            .into_iter()
            .partition(|(key, _)| NOTES.contains(&key.as_str()));
        *schema = notes;
        schema.insert("anyOf".to_owned(), json!([form, variable()]));
    }
}

fn admit_below(schema: &mut Value) {
    schema.as_object_mut().into_iter().for_each(admit_variables);
}

/// Takes some texts only, or none.
fn is_closed(schema: &Keywords) -> bool {
    let is_plain = |name: &Value| matches!(name.as_str(), Some("boolean" | "integer" | "number"));
    ["const", "enum", "pattern"]
        .iter()
        .any(|key| schema.contains_key(*key))
        || types(schema).iter().any(is_plain)
}

fn types(schema: &Keywords) -> &[Value] {
    schema.get("type").map_or(&[], |types| {
        types
            .as_array()
            .map_or(slice::from_ref(types), Vec::as_slice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(schema: &Value) -> impl Iterator<Item = &Value> {
        let lists = ["anyOf", "oneOf", "allOf"];
        lists
            .into_iter()
            .filter_map(|key| schema[key].as_array())
            .flatten()
    }

    /// Whether a text passes that is in no list and of no pattern but the variable's.
    fn takes(schema: &Value, text: &str, root: &Value) -> bool {
        if let Some(name) = schema["$ref"].as_str() {
            let path = name.strip_prefix('#').unwrap();
            return takes(root.pointer(path).unwrap(), text, root);
        }
        if schema["pattern"].is_string() {
            return schema["pattern"] == r"\$\{.+\}" && text.contains("${");
        }
        let is_text = schema["type"] == "string" || schema["type"] == json!(["string", "null"]);
        let is_any = schema["const"].is_null() && schema["enum"].is_null();
        (is_text && is_any) || forms(schema).any(|form| takes(form, text, root))
    }

    /// Whether the value may be something else than a list or a mapping.
    fn has_plain_form(schema: &Value, root: &Value) -> bool {
        if let Some(name) = schema["$ref"].as_str() {
            return has_plain_form(root.pointer(&name[1..]).unwrap(), root);
        }
        let is_container = |name: &Value| name == "object" || name == "array" || name == "null";
        if forms(schema).next().is_some() {
            return forms(schema).any(|form| has_plain_form(form, root));
        }
        let types = types(schema.as_object().unwrap());
        types.is_empty() || !types.iter().all(is_container)
    }

    #[test]
    fn a_variable_may_stand_for_every_plain_value_and_nothing_else_got_in() {
        let root: Value = serde_json::from_str(&schema()).unwrap();
        let mut mappings = vec![&root];
        mappings.extend(root["definitions"].as_object().unwrap().values());
        let mut closed = 0;
        for mapping in mappings {
            for (key, value) in mapping["properties"].as_object().into_iter().flatten() {
                if has_plain_form(value, &root) {
                    assert!(takes(value, "${X:-1}", &root), "{key}: {value}");
                    closed += usize::from(!takes(value, "nonsense", &root));
                }
            }
        }
        // Booleans, enumerations, numbers, durations, sizes: most of all keys.
        assert!(closed > 80, "{closed} of them take some texts only");
    }
}
