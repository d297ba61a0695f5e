//! The rules of consistency, in one table: name, weight and meaning. `docs/check.md` mirrors it.
//!
//! Names are those of the consistency checker of Neo4j 1.8 and 1.9 where it has the rule
//! (`docs/formats/store-format.md` §12).

use serde::{Serialize, Serializer};

/// How bad it is to break a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The graph, or what a start of Neo4j makes of it, is wrong.
    Error,
    /// Space is lost to records that nothing refers to; defects of old releases left such records behind.
    Ownership,
    /// Odd, and harmless by itself.
    Warning,
}

macro_rules! rules {
    ($($variant:ident $name:literal $severity:ident $meaning:literal;)*) => {
        /// What every consistent store obeys.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $meaning] $variant,)*
        }

        impl Rule {
            /// All rules, in the order of the table.
            pub const ALL: &[Rule] = &[$(Rule::$variant,)*];

            /// The name in reports.
            pub fn name(self) -> &'static str {
                match self { $(Rule::$variant => $name,)* }
            }

            /// How bad it is to break it.
            pub fn severity(self) -> Severity {
                match self { $(Rule::$variant => Severity::$severity,)* }
            }

            /// What is wrong where it is broken.
            pub fn meaning(self) -> &'static str {
                match self { $(Rule::$variant => $meaning,)* }
            }
        }
    };
}

rules! {
    RelationshipNotInUse "relationshipNotInUse" Error "the first relationship of a node is not in use";
    RelationshipForOtherNode "relationshipForOtherNode" Error "the first relationship of a node connects other nodes";
    RelationshipNotFirstInSourceChain "relationshipNotFirstInSourceChain" Error "the first relationship of a node, its start, is not the head of its chain";
    RelationshipNotFirstInTargetChain "relationshipNotFirstInTargetChain" Error "the first relationship of a node, its end, is not the head of its chain";

    LabelNotInUse "labelNotInUse" Error "the type of a relationship is not in use";
    IllegalSourceNode "illegalSourceNode" Error "a relationship has no start node";
    IllegalTargetNode "illegalTargetNode" Error "a relationship has no end node";
    SourceNodeNotInUse "sourceNodeNotInUse" Error "the start node of a relationship is not in use";
    TargetNodeNotInUse "targetNodeNotInUse" Error "the end node of a relationship is not in use";
    SourceNodeDoesNotReferenceBack "sourceNodeDoesNotReferenceBack" Error "a relationship is the first one of its start node, which has another as its first";
    TargetNodeDoesNotReferenceBack "targetNodeDoesNotReferenceBack" Error "a relationship is the first one of its end node, which has another as its first";
    SourceNodeHasNoRelationships "sourceNodeHasNoRelationships" Error "a relationship has a previous one at its start node, which has no relationships";
    TargetNodeHasNoRelationships "targetNodeHasNoRelationships" Error "a relationship has a previous one at its end node, which has no relationships";
    SourcePrevNotInUse "sourcePrevNotInUse" Error "the previous relationship at the start node is not in use";
    TargetPrevNotInUse "targetPrevNotInUse" Error "the previous relationship at the end node is not in use";
    SourcePrevReferencesOtherNodes "sourcePrevReferencesOtherNodes" Error "the previous relationship at the start node connects other nodes";
    TargetPrevReferencesOtherNodes "targetPrevReferencesOtherNodes" Error "the previous relationship at the end node connects other nodes";
    SourcePrevDoesNotReferenceBack "sourcePrevDoesNotReferenceBack" Error "the previous relationship at the start node does not refer back";
    TargetPrevDoesNotReferenceBack "targetPrevDoesNotReferenceBack" Error "the previous relationship at the end node does not refer back";
    SourceNextNotInUse "sourceNextNotInUse" Error "the next relationship at the start node is not in use";
    TargetNextNotInUse "targetNextNotInUse" Error "the next relationship at the end node is not in use";
    SourceNextReferencesOtherNodes "sourceNextReferencesOtherNodes" Error "the next relationship at the start node connects other nodes";
    TargetNextReferencesOtherNodes "targetNextReferencesOtherNodes" Error "the next relationship at the end node connects other nodes";
    SourceNextDoesNotReferenceBack "sourceNextDoesNotReferenceBack" Error "the next relationship at the start node does not refer back";
    TargetNextDoesNotReferenceBack "targetNextDoesNotReferenceBack" Error "the next relationship at the end node does not refer back";
    LoopPointersDiffer "loopPointersDiffer" Error "a relationship from a node to itself has two different pairs of neighbours";
    RelationshipCycle "relationshipCycle" Error "relationships of a node form a cycle";

    PropertyNotInUse "propertyNotInUse" Error "the first property of a node, a relationship or the graph is not in use";
    PropertyNotFirstInChain "propertyNotFirstInChain" Error "the first property of a node, a relationship or the graph is not the head of its chain";
    MultipleOwners "multipleOwners" Error "a property chain is the first of more than one node, relationship or graph";
    OrphanPropertyChain "orphanPropertyChain" Ownership "nothing refers to a property chain";
    PrevNotInUse "prevNotInUse" Error "the previous record of a property is not in use";
    NextNotInUse "nextNotInUse" Error "the next record of a property is not in use";
    PreviousDoesNotReferenceBack "previousDoesNotReferenceBack" Error "the previous record of a property does not refer back";
    NextDoesNotReferenceBack "nextDoesNotReferenceBack" Error "the next record of a property does not refer back";
    PropertyCycle "propertyCycle" Error "property records form a cycle that nothing refers to";
    KeyNotInUse "keyNotInUse" Error "the key of a property is not in use";
    KeyTwice "keyTwice" Error "a key occurs twice in one property chain";
    InvalidPropertyType "invalidPropertyType" Error "a property has an unknown type";
    InvalidPropertyValue "invalidPropertyValue" Error "the value of a property cannot be decoded";
    StringNotInUse "stringNotInUse" Error "the first block of a string is not in use";
    ArrayNotInUse "arrayNotInUse" Error "the first block of an array is not in use";
    StringEmpty "stringEmpty" Error "the first block of a string is empty";
    ArrayEmpty "arrayEmpty" Error "the first block of an array is empty";
    StringMultipleOwners "stringMultipleOwners" Error "a string block is referred to more than once";
    ArrayMultipleOwners "arrayMultipleOwners" Error "an array block is referred to more than once";

    InvalidLength "invalidLength" Error "the length of a block exceeds the block size";
    EmptyBlock "emptyBlock" Warning "a block in use is empty";
    SelfReferentialNext "selfReferentialNext" Error "the next block of a block is itself";
    NextBlockNotInUse "nextBlockNotInUse" Error "the next block of a block is not in use";
    EmptyNextBlock "emptyNextBlock" Warning "the next block of a block is empty";
    RecordNotFullReferencesNext "recordNotFullReferencesNext" Warning "a block that is not full has a next one";
    PreviousBlockDiffers "previousBlockDiffers" Error "a block of the old format has another previous block than the one that refers to it";
    OrphanDynamicRecord "orphanDynamicRecord" Ownership "nothing refers to a block in use";
    BlockCycle "blockCycle" Error "blocks form a cycle";
    InvalidText "invalidText" Error "a string or name over all its blocks is not text of the store's encoding";
    InvalidArray "invalidArray" Error "an array over all its blocks cannot be decoded";

    NameBlockNotInUse "nameBlockNotInUse" Error "the name of a relationship type or property key is not in use";
    EmptyName "emptyName" Warning "the name of a relationship type or property key is empty";
    NameMultipleOwners "nameMultipleOwners" Error "a name block is referred to more than once";
    IllegalInUse "illegalInUse" Error "the in-use byte of a record has an invalid value";

    HeaderRecordMissing "headerRecordMissing" Error "a record of neostore is missing or not in use";
    StoreVersionDiffers "storeVersionDiffers" Error "neostore has another store version than the other files";
    StoreMissing "storeMissing" Error "a store file is missing";
    TrailerMisaligned "trailerMisaligned" Error "the trailer of a file does not follow a whole record: Neo4j reads it as records";
    TrailerOfOtherVersion "trailerOfOtherVersion" Error "the end of a file names another store version than neostore has";
    NotClosed "notClosed" Warning "a file does not end with its type and version: it was not closed; Neo4j rebuilds its id file";
    PartialRecord "partialRecord" Warning "a file ends within a record";
    BlockSize "blockSize" Error "the first block of a dynamic store does not hold a size that is possible";

    IdFileMissing "idFileMissing" Warning "an id file is missing; Neo4j rebuilds it";
    IdFileNotClosed "idFileNotClosed" Warning "an id file is marked as in use; Neo4j rebuilds it";
    IdFileDamaged "idFileDamaged" Error "an id file has an invalid length or first byte";
    HighIdTooLow "highIdTooLow" Error "a record in use is beyond the high id: Neo4j truncates it";
    FreeIdInUse "freeIdInUse" Error "an id listed as free is in use: Neo4j overwrites the record";
    FreeIdTooHigh "freeIdTooHigh" Error "a free id is not below the high id";
    FreeIdTwice "freeIdTwice" Error "an id is listed as free twice: Neo4j assigns it twice";

    LogMarker "logMarker" Error "the marker that says which log is active cannot be read: Neo4j does not start";
    ActiveLogMissing "activeLogMissing" Error "the log that the marker names is missing or has no header: Neo4j does not start";
    UnrecoveredLog "unrecoveredLog" Warning "the graph's log is active: its transactions are applied at the next start of Neo4j";
    LogUnreadable "logUnreadable" Error "a log cannot be read to its end";
    LogVersionDiffers "logVersionDiffers" Error "the header of a log has another version than its name or the store says";
    LogOutOfOrder "logOutOfOrder" Error "transactions are missing between two logs";
    LogAheadOfStore "logAheadOfStore" Error "an archived log has a newer transaction than neostore";
    LogVersionTaken "logVersionTaken" Warning "an archived log has the version that the next log will get";
    TransactionManager "transactionManager" Error "the log that the transaction manager's file names is missing, or that file is missing: Neo4j does not start";
    LuceneStoreUnreadable "luceneStoreUnreadable" Error "index/lucene-store.db cannot be read";
    IndexConfigUnreadable "indexConfigUnreadable" Error "index.db cannot be read";
    IndexConfigMissing "indexConfigMissing" Error "index files exist, but index.db is missing: Neo4j starts without indexes";
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
    }
}
