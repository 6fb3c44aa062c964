//! JSON merge patch (RFC 7396) on texts, so that no number passes through a float.

use crate::file::json::{Entries, kind};
use serde_json::value::RawValue;

/// `target` with what `patch` says; an error is one line.
pub(super) fn merged(target: Option<&str>, patch: &str) -> Result<String, String> {
    let patch: &RawValue = serde_json::from_str(patch).map_err(|error| format!("is not JSON: {error}"))?;
    if kind(patch) != "an object" {
        return Ok(patch.get().to_owned());
    }
    let mut members: Vec<(String, String)> = Vec::new();
    for (key, value) in target.and_then(|target| entries(target).ok()).unwrap_or_default() {
        members.push((key, value));
    }
    let mut seen: Vec<String> = Vec::new();
    for (key, value) in entries(patch.get())? {
        if seen.contains(&key) {
            return Err(format!("{key:?} is there twice"));
        }
        let old = members.iter().position(|(other, _)| *other == key);
        match (old, value.as_str()) {
            (Some(at), "null") => _ = members.remove(at),
            (None, "null") => {}
            (Some(at), value) => members[at].1 = merged(Some(&members[at].1), value)?,
            (None, value) => members.push((key.clone(), merged(None, value)?)),
        }
        seen.push(key);
    }
    let member = |(key, value): (String, String)| format!("{}:{value}", serde_json::Value::from(key));
    Ok(format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(",")))
}

fn entries(object: &str) -> Result<Vec<(String, String)>, String> {
    let Entries(entries) = serde_json::from_str(object).map_err(|error| format!("is not JSON: {error}"))?;
    Ok(entries.into_iter().map(|(key, value)| (key.into_owned(), value.get().to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_does_what_rfc_7396_says() {
        for (target, patch, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":0.10}"#, r#"{"a":"b","b":0.10}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(merged(Some(target), patch).as_deref(), Ok(expected), "{target} {patch}");
        }
    }

    #[test]
    fn a_patch_with_two_meanings_is_refused() {
        for (patch, expected) in [
            (r#"{"a":1,"a":2}"#, "\"a\" is there twice"),
            (r#"{"a":{"b":1,"b":2}}"#, "\"b\" is there twice"),
            ("{", "is not JSON"),
        ] {
            let error = merged(Some("{}"), patch).unwrap_err();
            assert!(error.contains(expected), "{patch}: {error}");
        }
    }
}
