import java.util.*;
import org.neo4j.graphdb.*;
import org.neo4j.graphdb.index.*;

/** The random load. */
class Load {
    static final String[] KEYS = {"name", "text", "age", "w", "flag", "list", "chain", "note"};
    static final String[] TYPES = {"KNOWS", "LIKES", "OWNS"};

    final GraphDatabaseService db;
    final String release;
    final boolean deleteIndexes;
    /** Number of the last transaction, rolled back or not. */
    long last;
    /** Ids of what is in the graph, ascending; null when they have to be read again. */
    ArrayList<Long> nodes, relationships;
    Random random;
    /** Entities that one transaction may touch only once in an index, and not delete after that. */
    Set<Long> indexedNodes, indexedRelationships;

    Load(GraphDatabaseService db, String release, boolean deleteIndexes) {
        this.db = db;
        this.release = release;
        this.deleteIndexes = deleteIndexes;
        Values.oldArrays = release.equals("1.3") || release.startsWith("1.4");
        last = Math.max(Dump.graphProgress(db), Dump.indexProgress(db));
    }

    void contentsChanged() {
        nodes = null;
    }

    long runTo(long seed, long k) {
        return k > last ? run(seed, (int) (k - last)) : last;
    }

    synchronized long run(long seed, int count) {
        for (int i = 0; i < count; i++) {
            if (nodes == null) readContents();
            last++;
            random = new Random(seed * 1000003L + last * 7919L);
            random.nextInt();
            indexedNodes = new HashSet<Long>();
            indexedRelationships = new HashSet<Long>();
            transaction();
        }
        return last;
    }

    void readContents() {
        TreeSet<Long> n = new TreeSet<Long>(), r = new TreeSet<Long>();
        for (Node node : db.getAllNodes()) {
            if (node.getId() != 0) n.add(node.getId());
            for (Relationship relationship : node.getRelationships(Direction.OUTGOING)) r.add(relationship.getId());
        }
        nodes = new ArrayList<Long>(n);
        relationships = new ArrayList<Long>(r);
    }

    void transaction() {
        int kind = random.nextInt(100);
        if (deleteIndexes && kind == 99 && db.index().existsForNodes("temp")) {
            deleteIndex();
            return;
        }
        boolean rollBack = kind < 7, graph = kind < 90, index = kind >= 50 || kind < 3;
        Transaction tx = db.beginTx();
        try {
            int steps = 1 + random.nextInt(6);
            for (int i = 0; i < steps; i++) {
                if (graph) graphStep();
                if (index) indexStep();
            }
            if (graph) db.getReferenceNode().setProperty("seq", last);
            if (index) recordIndexProgress();
            if (!rollBack) tx.success();
        } finally {
            tx.finish();
        }
        if (rollBack) contentsChanged();
    }

    void deleteIndex() {
        Transaction tx = db.beginTx();
        try {
            db.index().forNodes("temp").delete();
            recordIndexProgress();
            tx.success();
        } finally {
            tx.finish();
        }
    }

    void recordIndexProgress() {
        Index<Node> progress = db.index().forNodes("progress");
        Node node = db.getReferenceNode();
        progress.remove(node, "seq");
        progress.add(node, "seq", Long.toString(last));
    }

    void graphStep() {
        switch (random.nextInt(20)) {
            case 0: case 1: case 2: case 3:
                createNode();
                break;
            case 4: case 5: case 6: case 7:
                createRelationship();
                break;
            case 8: case 9: case 10:
                node().setProperty(key(), Values.any(random));
                break;
            case 11:
                node().removeProperty(key());
                break;
            case 12: case 13: case 14:
                growOrShrink(random.nextInt(3) == 0 ? relationshipOrNode() : node());
                break;
            case 15: case 16:
                relationshipOrNode().setProperty(key(), Values.any(random));
                break;
            case 17:
                relationshipOrNode().removeProperty(key());
                break;
            case 18:
                if (random.nextInt(3) == 0) deleteNode();
                else deleteRelationship();
                break;
            default:
                graphProperty();
        }
    }

    void createNode() {
        Node node = db.createNode();
        for (int i = random.nextInt(4); i > 0; i--) node.setProperty(key(), Values.any(random));
        nodes.add(node.getId());
    }

    void createRelationship() {
        Node from = node(), to = node();
        if (from.equals(to) && !selfRelationships()) return;
        Relationship r = from.createRelationshipTo(to, DynamicRelationshipType.withName(typeName()));
        for (int i = random.nextInt(3); i > 0; i--) r.setProperty(key(), Values.any(random));
        relationships.add(r.getId());
    }

    /** Long strings and arrays that get longer and shorter, so that chains of dynamic records do. */
    void growOrShrink(PropertyContainer entity) {
        int length = random.nextInt(4) == 0 ? random.nextInt(3000) : random.nextInt(400);
        if (random.nextBoolean()) entity.setProperty("chain", Values.text(random, length));
        else entity.setProperty("chain", Values.longs(random, 1 + length / 4));
    }

    void deleteRelationship() {
        if (relationships.isEmpty()) return;
        int at = random.nextInt(relationships.size());
        Relationship r = db.getRelationshipById(relationships.get(at));
        if (!mayDelete(r)) return;
        unindex(r);
        r.delete();
        relationships.remove(at);
    }

    void deleteNode() {
        if (nodes.isEmpty()) return;
        int at = random.nextInt(nodes.size());
        Node node = db.getNodeById(nodes.get(at));
        if (indexedNodes.contains(node.getId())) return;
        TreeMap<Long, Relationship> attached = new TreeMap<Long, Relationship>();
        for (Relationship r : node.getRelationships()) {
            if (!mayDelete(r)) return;
            attached.put(r.getId(), r);
        }
        for (Relationship r : attached.values()) {
            unindex(r);
            r.delete();
            relationships.remove(r.getId());
        }
        for (String name : new String[] {"people", "words", "temp"})
            if (db.index().existsForNodes(name)) db.index().forNodes(name).remove(node);
        node.delete();
        nodes.remove(at);
    }

    boolean mayDelete(Relationship r) {
        if (indexedRelationships.contains(r.getId())) return false;
        return indexRemovals() || !mayIndex(r);
    }

    /** Where removals from the index are impossible, half of the relationships are indexed and the others deleted. */
    boolean mayIndex(Relationship r) {
        return indexRemovals() || r.getId() % 2 == 0;
    }

    void unindex(Relationship r) {
        if (indexRemovals() && db.index().existsForRelationships("ties")) db.index().forRelationships("ties").remove(r);
    }

    void indexStep() {
        int choice = random.nextInt(10);
        if (choice < 3) relationshipIndexStep();
        else if (choice < 6) nodeIndexStep(db.index().forNodes("people"));
        else if (choice < 8) nodeIndexStep(db.index().forNodes("words", fulltext()));
        else nodeIndexStep(db.index().forNodes("temp"));
    }

    void nodeIndexStep(Index<Node> index) {
        Node node = node();
        if (!indexedNodes.add(node.getId())) return;
        indexStep(index, node, true);
    }

    void relationshipIndexStep() {
        if (relationships.isEmpty()) return;
        Relationship r = db.getRelationshipById(relationships.get(random.nextInt(relationships.size())));
        if (!mayIndex(r) || !indexedRelationships.add(r.getId())) return;
        indexStep(db.index().forRelationships("ties"), r, indexRemovals());
    }

    <T extends PropertyContainer> void indexStep(Index<T> index, T entity, boolean mayRemove) {
        String key = random.nextBoolean() ? "name" : "w", word = Values.word(random);
        int choice = random.nextInt(mayRemove ? 14 : 9);
        if (choice < 6) index.add(entity, key, word);
        else if (choice < 8) index.add(entity, key, new String[] {word, Values.word(random)});
        else if (choice < 9) index.add(entity, "num", Values.numeric(random));
        else if (choice < 11) index.remove(entity, key, word);
        else if (choice < 13) index.remove(entity, key);
        else index.remove(entity);
    }

    /** Graph properties exist from 1.6 on, and only behind the public interface. */
    void graphProperty() {
        PropertyContainer graph = Dump.graphProperties(db);
        String key = "g" + random.nextInt(5);
        Object value = Values.any(random);
        boolean remove = random.nextInt(4) == 0;
        if (graph == null) return;
        if (remove) graph.removeProperty(key);
        else graph.setProperty(key, value);
    }

    Node node() {
        if (nodes.isEmpty() || random.nextInt(40) == 0) return db.getReferenceNode();
        return db.getNodeById(nodes.get(random.nextInt(nodes.size())));
    }

    PropertyContainer relationshipOrNode() {
        if (relationships.isEmpty()) return node();
        return db.getRelationshipById(relationships.get(random.nextInt(relationships.size())));
    }

    /** Mostly a key in use, sometimes one that the database has never seen. */
    String key() {
        return random.nextInt(25) == 0 ? "key" + last : KEYS[random.nextInt(KEYS.length)];
    }

    String typeName() {
        return random.nextInt(25) == 0 ? "TYPE_" + last : TYPES[random.nextInt(TYPES.length)];
    }

    boolean selfRelationships() {
        return !release.equals("1.3");
    }

    boolean indexRemovals() {
        return !release.equals("1.3");
    }

    static Map<String, String> fulltext() {
        Map<String, String> settings = new HashMap<String, String>();
        settings.put("provider", "lucene");
        settings.put("type", "fulltext");
        return settings;
    }
}
