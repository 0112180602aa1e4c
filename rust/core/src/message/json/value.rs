//! Whole values, walked without recursion: stepped over, or built.

use super::{ErrorKind, Names, Scanner, Token, Value};
use crate::message::JSON_DEPTH;

/// What is done with the parts of a value.
trait Visitor<'a> {
    fn open(&mut self, is_object: bool);
    /// The next key of the innermost object; false where the object has it already.
    fn key(&mut self, key: Token<'a>) -> Result<bool, ErrorKind>;
    fn scalar(&mut self, scalar: Token<'a>) -> Result<(), ErrorKind>;
    fn close(&mut self);
}

impl<'a> Scanner<'a> {
    /// Steps over the next value, a member of the outermost object.
    pub(crate) fn skip(&mut self) -> Result<(), ErrorKind> {
        match self.peek()? {
            b'{' | b'[' => self.walk(&mut Skip),
            first => self.scalar(first).map(drop),
        }
    }

    /// Builds the next value, a member of the outermost object.
    pub(crate) fn value(&mut self) -> Result<Value, ErrorKind> {
        let mut build = Build::default();
        self.walk(&mut build)?;
        Ok(build.done)
    }

    fn walk(&mut self, visitor: &mut impl Visitor<'a>) -> Result<(), ErrorKind> {
        // One bit for each open object or array within the outermost object, the innermost lowest; 1 is an object.
        let mut objects = 0_u64;
        let mut depth = 1;
        loop {
            let first = self.peek()?;
            if let b'{' | b'[' = first {
                if depth == JSON_DEPTH {
                    return Err(ErrorKind::TooDeep);
                }
                self.advance(1);
                let is_object = first == b'{';
                objects = objects << 1 | u64::from(is_object);
                depth += 1;
                visitor.open(is_object);
                if self.peek()? != if is_object { b'}' } else { b']' } {
                    if is_object {
                        self.member(visitor)?;
                    }
                    continue;
                }
            } else {
                let kind = self.scalar(first)?;
                visitor.scalar(self.token(kind))?;
            }
            // A value is complete: so may be what it stands in.
            loop {
                if depth == 1 {
                    return Ok(());
                }
                let is_object = objects & 1 == 1;
                match self.peek()? {
                    b',' => {
                        self.advance(1);
                        if is_object {
                            self.member(visitor)?;
                        }
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return Err(ErrorKind::UnexpectedByte),
                }
                self.advance(1);
                objects >>= 1;
                depth -= 1;
                visitor.close();
            }
        }
    }

    fn member(&mut self, visitor: &mut impl Visitor<'a>) -> Result<(), ErrorKind> {
        self.peek()?;
        let index = self.index();
        let kind = self.key()?;
        if !visitor.key(self.token(kind))? {
            self.note_duplicate(index);
        }
        Ok(())
    }
}

struct Skip;

impl<'a> Visitor<'a> for Skip {
    fn open(&mut self, _is_object: bool) {}

    fn key(&mut self, _key: Token<'a>) -> Result<bool, ErrorKind> {
        Ok(true)
    }

    fn scalar(&mut self, _scalar: Token<'a>) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn close(&mut self) {}
}

/// An object or array that is not complete yet.
enum Open<'a> {
    Array(Vec<Value>),
    Object {
        members: Vec<(String, Value)>,
        key: String,
        names: Names<'a>,
    },
}

struct Build<'a> {
    open: Vec<Open<'a>>,
    done: Value,
}

impl Default for Build<'_> {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            done: Value::Null,
        }
    }
}

impl Build<'_> {
    fn add(&mut self, value: Value) {
        match self.open.last_mut() {
            None => self.done = value,
            Some(Open::Array(items)) => items.push(value),
            Some(Open::Object { members, key, .. }) => members.push((std::mem::take(key), value)),
        }
    }
}

impl<'a> Visitor<'a> for Build<'a> {
    fn open(&mut self, is_object: bool) {
        self.open.push(if is_object {
            Open::Object {
                members: Vec::new(),
                key: String::new(),
                names: Names::default(),
            }
        } else {
            Open::Array(Vec::new())
        });
    }

    fn key(&mut self, text: Token<'a>) -> Result<bool, ErrorKind> {
        let Some(Open::Object { key, names, .. }) = self.open.last_mut() else {
            return Ok(true);
        };
        *key = text.text().map_err(|error| error.kind)?.into_owned();
        Ok(names.insert(text.bytes()))
    }

    fn scalar(&mut self, scalar: Token<'a>) -> Result<(), ErrorKind> {
        self.add(scalar.value().map_err(|error| error.kind)?);
        Ok(())
    }

    fn close(&mut self) {
        match self.open.pop() {
            Some(Open::Array(items)) => self.add(Value::Array(items)),
            Some(Open::Object { members, .. }) => self.add(Value::Object(members)),
            None => {}
        }
    }
}
