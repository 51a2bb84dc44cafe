// Package domxml reads and edits libvirt domain XML, says what a document may
// contain, and derives from it what the cluster's rules need to know: disks, networks,
// sizes, and how bound a guest is to its host. It is pure text in, text out: no I/O and
// no libvirt.
//
// A document is read once into a small tree with byte positions. Edits replace bytes
// of the original text and leave every other byte as it is, because a round trip
// through structs would lose what they do not know.
//
// What libvirt would understand in another way than we do is refused, not guessed:
// DOCTYPE and entities, repeated attributes, a second <source> of one disk, foreign
// namespaces among the elements (libvirt looks at local names only).
package domxml
