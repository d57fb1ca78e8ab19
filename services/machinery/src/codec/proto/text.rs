//! Message to JSON text, with no tree between.
//!
//! Most answers are stored objects that go out as JSON as they are. A tree costs an allocation for each member; here a member
//! is found in the message and written at once. Values whose text is not their message's (quantities, raw objects, unions)
//! still become a tree, each on its own.
//!
//! What must stay true: the text is what [`super::decode`] and [`json::write`] make, byte for byte. The golden objects and
//! the tests of `api` compare the two.

use super::super::typed;
use super::super::{DecodeError, MAX_DEPTH, json};
use super::decode::{Decoder, moment};
use super::envelope;
use super::wire::{Item, Reader};
use crate::schema::{Wire, WireStep};
use crate::{Catalog, Field, FieldType, TypeDef, Value};

/// Appends an enveloped object of any kind of the catalog as JSON: with `apiVersion` and `kind`, or without, as an item of
/// a list.
///
/// # Errors
/// As [`super::decode`]; `out` then ends somewhere in the object.
pub fn write_json(
    bytes: &[u8],
    catalog: &Catalog,
    with_type: bool,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let envelope = envelope::open(bytes)?;
    let def = catalog.ty(envelope.type_in(catalog)?);
    let start = out.len();
    let mut writer = Writer {
        catalog,
        tree: Decoder::new(catalog),
        places: Vec::new(),
        depth: 0,
        out,
    };
    let head = with_type.then_some([("apiVersion", envelope.api_version), ("kind", envelope.kind)]);
    match writer.object(def, envelope.raw, head.as_ref().map_or(&[], |head| head)) {
        Ok(_) => Ok(()),
        Err(Stop::Broken(error)) => Err(error),
        Err(Stop::Scattered) => {
            out.truncate(start);
            let (_, mut tree) = super::decode(bytes, catalog)?;
            if let (false, Value::Map(map)) = (with_type, &mut tree) {
                map.remove("apiVersion");
                map.remove("kind");
            }
            json::write(&tree, out);
            Ok(())
        }
    }
}

/// Why a message is not written.
enum Stop {
    Broken(DecodeError),
    /// A list lies in several messages, which no encoder does although the format allows it: this takes the tree.
    Scattered,
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Self::Broken(error)
    }
}

/// Where a field stands in its message.
#[derive(Clone, Copy)]
enum Place<'b> {
    Nowhere,
    /// The last of its occurrences counts.
    At(Item<'b>),
    /// A list or map: from its first element to the end of the message, of which `behind` bytes follow its last element.
    Run {
        number: u32,
        from: &'b [u8],
        behind: usize,
    },
}

/// What was written for a value.
enum Said {
    /// Nothing: the value is null.
    Null,
    /// The zero of its type.
    Zero,
    Something,
}

struct Writer<'c, 'b, 'o> {
    catalog: &'c Catalog,
    tree: Decoder<'c>,
    /// Places of the fields of the objects being written, each object's on top of its parent's.
    places: Vec<Place<'b>>,
    depth: usize,
    out: &'o mut Vec<u8>,
}

impl<'c, 'b> Writer<'c, 'b, '_> {
    /// Writes an object; `given` are members that its message has not.
    fn object(&mut self, ty: &'c TypeDef, bytes: &'b [u8], given: &[(&str, &'b str)]) -> Result<Said, Stop> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(DecodeError::Limit("exceeded max depth").into());
        }
        let base = self.places.len();
        self.places.resize(base + ty.fields.len(), Place::Nowhere);
        for (name, value) in given {
            if let Some(at) = ty.position(name) {
                self.places[base + at] = Place::At(Item::Bytes(value.as_bytes()));
            }
        }
        self.find(ty, ty.wire(), bytes, base)?;
        self.out.push(b'{');
        let (mut said, mut first) = (Said::Zero, true);
        for (at, field) in ty.fields.iter().enumerate() {
            let place = self.places[base + at];
            if field.omit_empty && matches!(place, Place::Nowhere) {
                continue;
            }
            let before = self.out.len();
            self.key(field.name, first);
            match self.member(field, place)? {
                Said::Null if field.omit_empty => self.out.truncate(before),
                Said::Null => json::write(&typed::absent(self.catalog, field), self.out),
                Said::Zero if field.omit_empty && !field.pointer => self.out.truncate(before),
                Said::Zero if !field.pointer => {}
                Said::Zero | Said::Something => said = Said::Something,
            }
            first &= self.out.len() == before;
        }
        self.out.push(b'}');
        self.places.truncate(base);
        self.depth -= 1;
        Ok(said)
    }

    /// Writes a key. No key needs an escape: it is a field's name.
    fn key(&mut self, name: &str, first: bool) {
        if !first {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Notes where the fields of a message stand.
    fn find(&mut self, ty: &'c TypeDef, wires: &'c [Wire], bytes: &'b [u8], base: usize) -> Result<(), Stop> {
        let mut reader = Reader::new(bytes);
        // Fields mostly come by ascending number, so the search starts where the last one ended.
        let mut cursor = 0;
        loop {
            let from = reader.rest;
            let Some((number, item)) = reader.next()? else {
                return Ok(());
            };
            let found = match wires.get(cursor) {
                Some(wire) if wire.number == number => Ok(cursor),
                _ => wires.binary_search_by_key(&number, |w| w.number),
            };
            let Ok(at) = found else { continue };
            cursor = at;
            let index = match &wires[at].step {
                WireStep::Nested(inner) => {
                    self.find(ty, inner, item.bytes()?, base)?;
                    cursor += 1;
                    continue;
                }
                WireStep::Field(index) => *index,
            };
            let field = &ty.fields[index];
            let place = &mut self.places[base + index];
            if field.wrapped || !matches!(field.ty, FieldType::List(_) | FieldType::Map(_)) {
                *place = Place::At(item);
                cursor += 1;
                continue;
            }
            let behind = reader.rest.len();
            *place = match *place {
                Place::Run { from: first, .. } if first.as_ptr_range().end != from.as_ptr_range().end => {
                    return Err(Stop::Scattered);
                }
                Place::Run { from, .. } => Place::Run { number, from, behind },
                _ => Place::Run { number, from, behind },
            };
        }
    }

    fn member(&mut self, field: &'c Field, place: Place<'b>) -> Result<Said, Stop> {
        match (&field.ty, place) {
            (FieldType::List(ty), Place::At(item)) => self.list(ty, item.bytes()?, 1),
            (FieldType::List(ty), Place::Run { number, from, behind }) => {
                self.list(ty, &from[..from.len() - behind], number)
            }
            (FieldType::Map(ty), Place::Run { number, from, behind }) => {
                self.map(ty, &from[..from.len() - behind], number)
            }
            (ty, Place::At(item)) => self.value(ty, item),
            (_, Place::Nowhere | Place::Run { .. }) => Ok(Said::Null),
        }
    }

    /// Writes the fields with a number as a list.
    fn list(&mut self, ty: &'c FieldType, bytes: &'b [u8], number: u32) -> Result<Said, Stop> {
        self.out.push(b'[');
        let start = self.out.len();
        let mut reader = Reader::new(bytes);
        while let Some((found, item)) = reader.next()? {
            match (ty, item) {
                _ if found != number => {}
                // A packed list of numbers: Go does not write it, other clients may.
                (FieldType::Int32 | FieldType::Int64 | FieldType::Bool, Item::Bytes(bytes)) => {
                    let mut packed = Reader::new(bytes);
                    while !packed.rest.is_empty() {
                        self.element(ty, Item::Varint(packed.varint()?), start)?;
                    }
                }
                (ty, item) => self.element(ty, item, start)?,
            }
        }
        let said = if self.out.len() > start {
            Said::Something
        } else {
            Said::Zero
        };
        self.out.push(b']');
        Ok(said)
    }

    fn element(&mut self, ty: &'c FieldType, item: Item<'b>, start: usize) -> Result<(), Stop> {
        if self.out.len() > start {
            self.out.push(b',');
        }
        if let Said::Null = self.value(ty, item)? {
            self.out.extend_from_slice(b"null");
        }
        Ok(())
    }

    /// Writes the fields with a number as an object with free keys, in the order of the keys.
    fn map(&mut self, ty: &'c FieldType, bytes: &'b [u8], number: u32) -> Result<Said, Stop> {
        let mut entries: Vec<(&'b str, Option<Item<'b>>)> = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((found, item)) = reader.next()? {
            if found != number {
                continue;
            }
            let mut entry = ("", None);
            let mut inner = Reader::new(item.bytes()?);
            while let Some((number, item)) = inner.next()? {
                match number {
                    1 => entry.0 = item.str()?,
                    2 => entry.1 = Some(item),
                    _ => {}
                }
            }
            entries.push(entry);
        }
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            // The last of equal keys counts.
            entries.reverse();
            entries.sort_by_key(|entry| entry.0);
            entries.dedup_by_key(|entry| entry.0);
        }
        self.out.push(b'{');
        for (at, (key, item)) in entries.into_iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            json::write_str(key, self.out);
            self.out.push(b':');
            let said = match (ty, item) {
                (_, None) => {
                    json::write(&typed::zero(self.catalog, ty), self.out);
                    Said::Zero
                }
                (FieldType::List(ty), Some(item)) => self.list(ty, item.bytes()?, 1)?,
                (ty, Some(item)) => self.value(ty, item)?,
            };
            if let Said::Null = said {
                self.out.extend_from_slice(b"null");
            }
        }
        self.out.push(b'}');
        Ok(Said::Something)
    }

    fn value(&mut self, ty: &'c FieldType, item: Item<'b>) -> Result<Said, Stop> {
        let zero = match ty {
            FieldType::String => {
                let text = item.str()?;
                json::write_str(text, self.out);
                text.is_empty()
            }
            FieldType::Bool => {
                let truth = item.int()? != 0;
                self.out.extend_from_slice(if truth { b"true" } else { b"false" });
                !truth
            }
            FieldType::Int32 => self.number(i64::from(item.int()? as i32)),
            FieldType::Int64 => self.number(item.int()? as i64),
            FieldType::Time | FieldType::MicroTime => {
                match moment(item.bytes()?, matches!(ty, FieldType::MicroTime))? {
                    None => return Ok(Said::Null),
                    Some(text) => json::write_str(&text, self.out),
                }
                false
            }
            FieldType::Object(id) if !self.catalog.ty(*id).union => {
                return self.object(self.catalog.ty(*id), item.bytes()?, &[]);
            }
            ty => return self.by_tree(ty, item),
        };
        Ok(if zero { Said::Zero } else { Said::Something })
    }

    fn number(&mut self, n: i64) -> bool {
        self.out
            .extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        n == 0
    }

    fn by_tree(&mut self, ty: &'c FieldType, item: Item<'b>) -> Result<Said, Stop> {
        let value = self.tree.value_at(self.depth, ty, item)?;
        if value.is_null() {
            return Ok(Said::Null);
        }
        json::write(&value, self.out);
        Ok(if typed::left_out(self.catalog, &value, ty) {
            Said::Zero
        } else {
            Said::Something
        })
    }
}
