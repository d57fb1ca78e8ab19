//! The schema: what the table says of types, fields and resources.
//!
//! Built once at start from the table in `api` (and later from CustomResourceDefinitions), immutable, shared.
//! Field names are `&'static str`: the table is leaked once, so that trees hold names without allocating.

use std::collections::HashMap;

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
    /// All resources, in discovery's order (core first, then groups by their priority).
    pub resources: Vec<Resource>,
}

/// One object type.
#[derive(Debug)]
pub struct TypeDef {
    /// The OpenAPI name, e.g. `io.k8s.api.core.v1.PodSpec`.
    pub name: &'static str,
    /// Fields in declaration order. Fields that JSON inlines but protobuf nests are listed flat here, with
    /// [`Field::embedded`] set.
    pub fields: Vec<Field>,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
    /// Whether members that are no field are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
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
    /// For a field that JSON inlines and protobuf nests: the field number of the embedded message in this one
    /// (Volume's `volumeSource`, Probe's `handler`). `number` is then inside that message.
    pub embedded: Option<u32>,
    /// Whether OpenAPI lists it as required.
    pub required: bool,
    /// Whether Go leaves it out of JSON when it is empty. Most fields are; `containers` of PodSpec is not.
    pub omit_empty: bool,
    /// Whether the Go field is a pointer, so that zero and absent differ in protobuf and JSON.
    pub pointer: bool,
    /// How lists merge under server-side apply.
    pub list: ListType,
    /// The keys of a [`ListType::Map`].
    pub map_keys: Vec<&'static str>,
    /// `x-kubernetes-map-type: atomic` on the field.
    pub atomic: bool,
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
    /// An object with free keys.
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

impl TypeDef {
    /// A field by its JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
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
