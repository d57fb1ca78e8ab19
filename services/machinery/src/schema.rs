//! The schema: what the table says of types, fields and resources.
//!
//! Built once at start from the table in `api` (and later from CustomResourceDefinitions), immutable, shared.
//! Field names are `&'static str`: the table is leaked once, so that trees hold names without allocating.

use std::collections::{HashMap, HashSet};

/// Index of a [`TypeDef`] in its [`Catalog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// Everything one minor version of Kubernetes serves.
#[derive(Debug, Default)]
pub struct Catalog {
    /// The minor version, e.g. 37.
    pub minor: u32,
    /// All types; [`TypeId`] indexes them.
    pub types: Vec<TypeDef>,
    /// By full OpenAPI name, e.g. `io.k8s.api.core.v1.Pod`.
    pub by_name: HashMap<&'static str, TypeId>,
    /// By `apiVersion` and kind, e.g. `apps/v1` and `Deployment`: kinds, lists and options alike.
    pub by_kind: HashMap<(&'static str, &'static str), TypeId>,
    /// Every field name, so that parsed keys need no allocation.
    pub names: HashSet<&'static str, std::hash::BuildHasherDefault<NameHasher>>,
    /// All resources, in discovery's order (core first, then groups by their priority).
    pub resources: Vec<Resource>,
}

/// One object type.
#[derive(Debug)]
pub struct TypeDef {
    /// The OpenAPI name, e.g. `io.k8s.api.core.v1.PodSpec`.
    pub name: &'static str,
    /// Fields in declaration order, which is the order of upstream's JSON. Fields that JSON inlines but protobuf nests
    /// are listed flat here, with [`Field::embedded`] set.
    pub fields: Vec<Field>,
    /// The `apiVersion` of a type that has `apiVersion` and `kind`; its kind is [`TypeDef::go_name`].
    pub api_version: Option<&'static str>,
    /// Whether JSON shows the content of whichever field is set instead of an object (`JSONSchemaPropsOrBool`).
    pub union: bool,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
    /// Whether members that are no field are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
    /// Open-addressed hash table of field names; 0 is free, else index + 1.
    index: Box<[u16]>,
    /// How protobuf lays out the fields, by ascending number.
    wire: Vec<Wire>,
}

/// One protobuf field of a message.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) number: u32,
    pub(crate) step: WireStep,
}

/// What a protobuf field holds.
#[derive(Debug)]
pub(crate) enum WireStep {
    /// The field with this index.
    Field(usize),
    /// A message with fields that JSON inlines.
    Nested(Vec<Wire>),
}

/// One field of a type.
#[derive(Debug)]
pub struct Field {
    /// Its JSON name.
    pub name: &'static str,
    /// What it holds.
    pub ty: FieldType,
    /// Protobuf field number; `None` if the field has no protobuf form.
    pub number: Option<u32>,
    /// For a field that JSON inlines and protobuf nests: the field numbers of the embedded messages from the outside in
    /// (Volume's `volumeSource`, Probe's `handler`). `number` is then inside the last of them. Mostly empty.
    pub embedded: Vec<u32>,
    /// Whether protobuf wraps the list in a message of its own (`items` = 1), as for `metav1.Verbs`.
    pub wrapped: bool,
    /// Whether OpenAPI lists it as required.
    pub required: bool,
    /// Whether Go leaves it out of JSON when it is empty. Most fields are; `containers` of PodSpec is not, and neither
    /// are structs without pointer (`resources: {}`), whose `omitempty` Go ignores.
    pub omit_empty: bool,
    /// Whether the Go field is a pointer, so that zero and absent differ in protobuf and JSON.
    pub pointer: bool,
    /// How lists merge under server-side apply.
    pub list: ListType,
    /// The keys of a [`ListType::Map`].
    pub map_keys: Vec<&'static str>,
    /// `x-kubernetes-map-type: atomic` on the field.
    pub atomic: bool,
    /// `x-kubernetes-map-type: granular` on the field: its members merge although its type is atomic.
    pub granular: bool,
    /// Strategic merge patch: `replace`; an object that is replaced as a whole (the selector of a
    /// PodDisruptionBudget).
    pub patch_replace: bool,
    /// Strategic merge patch: `merge`.
    pub patch_merge: bool,
    /// Strategic merge patch: `retainKeys`.
    pub patch_retain_keys: bool,
    /// Strategic merge patch: the merge key of a list of objects.
    pub patch_merge_key: Option<&'static str>,
    /// A literal default from the API's own markers, as JSON.
    pub default: Option<&'static str>,
    /// First minor version that has the field.
    pub since: u32,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A string.
    String,
    /// A boolean.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A double.
    Float,
    /// Base64 in JSON, bytes in protobuf.
    Bytes,
    /// `metav1.Time`.
    Time,
    /// `metav1.MicroTime`.
    MicroTime,
    /// `metav1.Duration`: Go's duration text.
    Duration,
    /// `resource.Quantity`.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `runtime.RawExtension`: any object.
    RawExtension,
    /// `metav1.FieldsV1`: any object.
    FieldsV1,
    /// Any JSON (`apiextensions` JSON and its kin).
    Json,
    /// An object of a known type.
    Object(TypeId),
    /// A list.
    List(Box<FieldType>),
    /// An object with free keys. If it holds lists, protobuf wraps each in a message (`items` = 1).
    Map(Box<FieldType>),
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    Atomic,
    /// A set of scalars.
    Set,
    /// Objects with keys.
    Map,
}

/// One resource as discovery shows it.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural name, as in paths.
    pub plural: &'static str,
    /// Singular name.
    pub singular: &'static str,
    /// Short names of kubectl.
    pub short_names: Vec<&'static str>,
    /// Categories (`all`).
    pub categories: Vec<&'static str>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs, as discovery lists them (sorted).
    pub verbs: Vec<&'static str>,
    /// Sub-resources.
    pub subresources: Vec<Subresource>,
    /// Its type.
    pub ty: TypeId,
    /// Upstream's storage prefix in etcd: mostly the plural, `services/specs`, `minions` for nodes and so on.
    pub storage_prefix: &'static str,
    /// The group-version it is stored in, e.g. `apps/v1`.
    pub storage_version: &'static str,
}

/// A sub-resource as discovery shows it.
#[derive(Debug)]
pub struct Subresource {
    /// Its name, e.g. `status`.
    pub name: &'static str,
    /// Group of the kind it takes and gives; empty if the same as the parent's or core.
    pub group: &'static str,
    /// Version of that kind.
    pub version: &'static str,
    /// That kind, e.g. `Scale`.
    pub kind: &'static str,
    /// Verbs.
    pub verbs: Vec<&'static str>,
}

impl Catalog {
    /// The type of an id.
    pub fn ty(&self, id: TypeId) -> &TypeDef {
        &self.types[id.0 as usize]
    }
    /// A resource by group, version and plural.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        self.resources
            .iter()
            .find(|r| r.group == group && r.version == version && r.plural == plural)
    }
    /// A resource by group, version and kind.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Resource> {
        self.resources
            .iter()
            .find(|r| r.group == group && r.version == version && r.kind == kind)
    }
}

impl Catalog {
    /// The type of a kind. Kinds that upstream registers in every group (options, `Status`, `WatchEvent`) are found
    /// under any version.
    pub fn type_of(&self, api_version: &str, kind: &str) -> Option<TypeId> {
        let find = |version: &str| self.by_kind.get(&(version, kind)).copied();
        find(api_version).or_else(|| {
            let everywhere = matches!(
                kind,
                "Status" | "WatchEvent" | "List" | "APIVersions" | "APIGroup"
            ) || matches!(
                kind,
                "APIGroupList" | "APIResourceList" | "DeleteOptions" | "ListOptions" | "GetOptions"
            ) || matches!(
                kind,
                "CreateOptions" | "UpdateOptions" | "PatchOptions" | "ApplyOptions"
            );
            if everywhere { find("meta.k8s.io/v1") } else { None }
        })
    }
    /// A field name as the static string of the table, if any type has it.
    pub fn static_name(&self, name: &str) -> Option<&'static str> {
        self.names.get(name).copied()
    }
}

impl Field {
    /// An optional field without protobuf form; the caller sets what differs.
    pub fn new(name: &'static str, ty: FieldType) -> Self {
        Self {
            name,
            ty,
            number: None,
            embedded: Vec::new(),
            wrapped: false,
            required: false,
            omit_empty: true,
            pointer: false,
            list: ListType::Atomic,
            map_keys: Vec::new(),
            atomic: false,
            granular: false,
            patch_replace: false,
            patch_merge: false,
            patch_retain_keys: false,
            patch_merge_key: None,
            default: None,
            since: 0,
        }
    }
}

/// A fast hash of short names that nobody attacks: what is hashed comes from requests, but it is only looked up.
#[derive(Clone, Copy, Debug, Default)]
pub struct NameHasher(u64);

impl std::hash::Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }
    fn write_u8(&mut self, byte: u8) {
        self.0 = self.0.rotate_left(5) ^ u64::from(byte);
    }
    fn finish(&self) -> u64 {
        // The low bits choose the bucket; the high ones are the best mixed.
        self.0 ^ (self.0 >> 32)
    }
}

/// Spreads field names over a table; length and four characters tell nearly all names of a type apart.
fn spread(name: &str) -> usize {
    let b = name.as_bytes();
    let n = b.len();
    if n == 0 {
        return 0;
    }
    let mix = (b[0] as u32) | (b[n / 2] as u32) << 8 | (b[n - 1] as u32) << 16 | (b[n / 4] as u32) << 24;
    (mix.wrapping_add(n as u32).wrapping_mul(0x9E37_79B1) >> 13) as usize
}

impl TypeDef {
    /// Makes a type of its fields and prepares the look-ups.
    pub fn new(name: &'static str, fields: Vec<Field>) -> Self {
        let size = (fields.len() * 2).next_power_of_two().max(4);
        let mut index = vec![0u16; size].into_boxed_slice();
        let mut wire = Vec::new();
        for (at, field) in fields.iter().enumerate() {
            let mut slot = spread(field.name) & (size - 1);
            while index[slot] != 0 {
                slot = (slot + 1) & (size - 1);
            }
            index[slot] = at as u16 + 1;
            if let Some(number) = field.number {
                Wire::place(&mut wire, &field.embedded, number, at);
            }
        }
        Wire::sort(&mut wire);
        Self {
            name,
            fields,
            api_version: None,
            union: false,
            atomic: false,
            preserve_unknown: false,
            index,
            wire,
        }
    }

    /// A field by its JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|at| &self.fields[at])
    }

    /// The index of a field by its JSON name.
    pub fn position(&self, name: &str) -> Option<usize> {
        let mask = self.index.len() - 1;
        let mut slot = spread(name) & mask;
        loop {
            match self.index[slot] {
                0 => return None,
                at if self.fields[at as usize - 1].name == name => return Some(at as usize - 1),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    /// The name without its package: `PodSpec`.
    pub fn go_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The name as Go prints it: `v1.PodSpec`.
    pub fn go_type(&self) -> &'static str {
        match self.name.rmatch_indices('.').nth(1) {
            Some((at, _)) => &self.name[at + 1..],
            None => self.name,
        }
    }

    pub(crate) fn wire(&self) -> &[Wire] {
        &self.wire
    }
}

impl Wire {
    fn place(into: &mut Vec<Wire>, outer: &[u32], number: u32, at: usize) {
        let Some((&first, rest)) = outer.split_first() else {
            into.push(Wire {
                number,
                step: WireStep::Field(at),
            });
            return;
        };
        let found = into.iter().position(|w| w.number == first).unwrap_or_else(|| {
            into.push(Wire {
                number: first,
                step: WireStep::Nested(Vec::new()),
            });
            into.len() - 1
        });
        if let WireStep::Nested(inner) = &mut into[found].step {
            Self::place(inner, rest, number, at);
        }
    }

    fn sort(wires: &mut [Wire]) {
        wires.sort_by_key(|w| w.number);
        for wire in wires {
            if let WireStep::Nested(inner) = &mut wire.step {
                Self::sort(inner);
            }
        }
    }
}

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.into()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}
