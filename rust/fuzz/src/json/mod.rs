//! JSON: what we read is what `serde_json` reads, less what faults.md section 7 refuses besides.

pub mod client;
mod learned;
pub mod server;

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use voxwire_core::message::JSON_DEPTH;
use voxwire_core::message::json::Value;

/// How `serde_json` hides a number in an object, so that its digits survive. A text that holds this itself proves
/// nothing.
const NUMBER_KEY: &str = "$serde_json::private::Number";

/// Any JSON value, with numbers as they are written and every member of an object, also a second one of a name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// What `serde_json` reads, if it does; nothing can be said of a text that names its hiding place.
    pub(crate) fn parse(text: &[u8]) -> Option<Result<Self, serde_json::Error>> {
        let hidden = NUMBER_KEY.as_bytes();
        if text.windows(hidden.len()).any(|window| window == hidden) {
            return None;
        }
        Some(serde_json::from_slice(text))
    }

    /// Nesting of objects and arrays; 0 for a value that is neither.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Array(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => 1 + members.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether a name occurs twice in one object, here or further in.
    pub(crate) fn has_duplicates(&self) -> bool {
        match self {
            Self::Array(items) => items.iter().any(Self::has_duplicates),
            Self::Object(members) => names_twice(members) || members.iter().any(|(_, value)| value.has_duplicates()),
            _ => false,
        }
    }

    /// Whether our value is the same.
    pub(crate) fn equals(&self, ours: &Value) -> bool {
        match (self, ours) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(theirs), Value::Bool(ours)) => theirs == ours,
            (Self::String(theirs), Value::String(ours)) => theirs == ours,
            (Self::Array(theirs), Value::Array(ours)) => {
                theirs.len() == ours.len() && theirs.iter().zip(ours).all(|(theirs, ours)| theirs.equals(ours))
            }
            (Self::Object(theirs), Value::Object(ours)) => {
                theirs.len() == ours.len()
                    && theirs
                        .iter()
                        .zip(ours)
                        .all(|((name, theirs), (our_name, ours))| name == our_name && theirs.equals(ours))
            }
            (Self::Number(text), ours) => match ours {
                Value::Int(ours) => is_integer(text) && text.parse() == Ok(*ours),
                Value::Float(ours) => !is_integer(text) && float(text) == Some(*ours),
                Value::OutOfRange => float(text).is_none() || (is_integer(text) && text.parse::<i64>().is_err()),
                _ => false,
            },
            _ => false,
        }
    }

    /// The integer without sign that a number is, also where it is written as a float.
    fn unsigned(&self) -> Option<u64> {
        let Self::Number(text) = self else { return None };
        if is_integer(text) {
            return if text == "-0" { Some(0) } else { text.parse().ok() };
        }
        let float = float(text)?;
        // Below 2^53 every integer is exact; the sign is that of -0.
        (float >= 0.0 && float < 2_f64.powi(53) && float.fract() == 0.0)
            .then(|| format!("{:.0}", float.abs()).parse().ok())
            .flatten()
    }

    /// The float that a number is; integers only as far as 64 bits with sign hold them.
    fn number(&self) -> Option<f64> {
        let Self::Number(text) = self else { return None };
        if is_integer(text) {
            return text.parse::<i64>().ok().map(|integer| integer as f64);
        }
        float(text)
    }

    fn string(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

fn is_integer(number: &str) -> bool {
    number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

fn float(number: &str) -> Option<f64> {
    number.parse().ok().filter(|float: &f64| float.is_finite())
}

/// The members of the one object that a message may be: refused are other values, depth, and a name used twice.
pub(crate) fn members(tree: &Tree) -> Option<&[(String, Tree)]> {
    match tree {
        Tree::Object(members) if tree.depth() <= JSON_DEPTH && !names_twice(members) => Some(members),
        _ => None,
    }
}

fn names_twice(members: &[(String, Tree)]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

/// The only member of a name; null counts as missing.
pub(crate) fn member<'a>(members: &'a [(String, Tree)], name: &str) -> Option<&'a Tree> {
    let (_, value) = members.iter().find(|(member, _)| member == name)?;
    (*value != Tree::Null).then_some(value)
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    // Integers of 64 bits are not hidden.
    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut tree = Vec::new();
        while let Some(item) = items.next_element()? {
            tree.push(item);
        }
        Ok(Tree::Array(tree))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut tree = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            if name == NUMBER_KEY {
                return Ok(Tree::Number(members.next_value()?));
            }
            tree.push((name, members.next_value()?));
        }
        Ok(Tree::Object(tree))
    }
}
