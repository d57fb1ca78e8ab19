//! Descriptions, unpacked for as long as a document is being made.

use std::collections::HashMap;

/// Descriptions of types and their fields.
#[derive(Debug, Default)]
pub struct Docs {
    text: String,
    /// Where a type's lines start in `text`.
    types: HashMap<String, usize>,
}

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/docs.zst"));

impl Docs {
    /// Unpacks what the build took from `k8s-openapi`.
    pub fn read() -> Self {
        let text = zstd::decode_all(PACKED).expect("the build packed it");
        let text = String::from_utf8(text).expect("the build wrote text");
        let mut types = HashMap::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            if let Some((name, _)) = line.strip_prefix('=').and_then(|l| l.split_once('\t')) {
                types.insert(name.to_owned(), at);
            }
            at += line.len();
        }
        Self { text, types }
    }

    /// The description of a type; empty if there is none.
    pub fn of_type(&self, name: &str) -> String {
        self.lines(name).next().map(plain).unwrap_or_default()
    }

    /// The descriptions of a type's fields, by JSON name.
    pub fn of_fields(&self, name: &str) -> HashMap<&str, String> {
        let fields = self.lines(name).skip(1).take_while(|line| !line.starts_with('='));
        fields
            .filter_map(|line| Some((line.split_once('\t')?.0, plain(line))))
            .collect()
    }

    fn lines(&self, name: &str) -> std::str::Lines<'_> {
        self.types.get(name).map_or("", |&at| &self.text[at..]).lines()
    }
}

fn plain(line: &str) -> String {
    line.split_once('\t')
        .map_or("", |(_, text)| text)
        .replace("\\n", "\n")
}
