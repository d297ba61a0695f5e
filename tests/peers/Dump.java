import java.io.*;
import java.lang.reflect.*;
import java.util.*;
import org.apache.lucene.search.NumericRangeQuery;
import org.neo4j.graphdb.*;
import org.neo4j.graphdb.index.*;

/** All that a reader of the database can see, one thing a line, in an order that does not depend on chains. */
class Dump {
    static final String[] INDEX_KEYS = {"name", "w"};
    static final List<String> INDEX_QUERIES = indexQueries();
    static final int NUMBERS = 1000, NUMBERS_PER_QUERY = 125;

    final GraphDatabaseService db;
    PrintWriter out;

    Dump(GraphDatabaseService db) {
        this.db = db;
    }

    void write(String file) throws IOException {
        out = new PrintWriter(file, "UTF-8");
        out.println("SEQ " + graphProgress(db));
        out.println("INDEX-SEQ " + indexProgress(db));
        PropertyContainer graph = graphProperties(db);
        if (graph != null) out.println("G " + properties(graph));
        long nodes = 0, relationships = 0;
        for (Node node : db.getAllNodes()) {
            nodes++;
            relationships += node(node);
        }
        out.println("COUNT " + nodes + " " + relationships);
        for (String name : sorted(db.index().nodeIndexNames())) index("IN " + name, db.index().forNodes(name));
        for (String name : sorted(db.index().relationshipIndexNames())) index("IR " + name, db.index().forRelationships(name));
        out.close();
        if (out.checkError()) throw new IOException("write error on " + file);
    }

    /** Incoming relationships are listed too: they hang in chains of their own. */
    long node(Node node) {
        TreeMap<Long, Relationship> outgoing = new TreeMap<Long, Relationship>();
        TreeSet<Long> incoming = new TreeSet<Long>();
        for (Relationship r : node.getRelationships(Direction.OUTGOING)) outgoing.put(r.getId(), r);
        for (Relationship r : node.getRelationships(Direction.INCOMING)) incoming.add(r.getId());
        out.println("N " + node.getId() + " " + properties(node) + " <- " + incoming);
        for (Relationship r : outgoing.values())
            out.println("R " + r.getId() + " " + r.getType().name() + " " + r.getStartNode().getId() + "->"
                + r.getEndNode().getId() + " " + properties(r));
        return outgoing.size();
    }

    /** Says nothing for an index without entries: Neo4j creates indexes outside the transaction that asks for them. */
    <T extends PropertyContainer> void index(String label, Index<T> index) {
        for (String key : INDEX_KEYS)
            for (String query : INDEX_QUERIES) hits(label + " " + key + ":" + ascii(query), index.query(key, query));
        for (int from = 0; from < NUMBERS; from += NUMBERS_PER_QUERY) numbers(label, index, from, from + NUMBERS_PER_QUERY);
    }

    <T extends PropertyContainer> void numbers(String label, Index<T> index, int from, int to) {
        hits(label + " num:int" + from, index.query(NumericRangeQuery.newIntRange("num", from, to, true, false)));
        hits(label + " num:long" + from, index.query(NumericRangeQuery.newLongRange("num", (long) from, (long) to, true, false)));
        hits(label + " num:float" + from, index.query(NumericRangeQuery.newFloatRange("num", (float) from, (float) to, true, false)));
        hits(label + " num:double" + from, index.query(NumericRangeQuery.newDoubleRange("num", (double) from, (double) to, true, false)));
    }

    /** All entries, those of each word that the load draws and those of each first digit that "gen" writes. */
    static List<String> indexQueries() {
        List<String> queries = new ArrayList<String>();
        queries.add("*");
        for (char first = 'a'; first <= 'f'; first++)
            for (char second = 'a'; second <= 'd'; second++) queries.add("" + first + second + "*");
        for (char script = 0x430; script < 0x436; script++) queries.add(script + "*");
        for (char digit = '0'; digit <= '9'; digit++) queries.add("n" + digit + "*");
        return queries;
    }

    <T extends PropertyContainer> void hits(String label, IndexHits<T> hits) {
        TreeSet<Long> ids = new TreeSet<Long>();
        for (T hit : hits) ids.add(hit instanceof Node ? ((Node) hit).getId() : ((Relationship) hit).getId());
        hits.close();
        if (!ids.isEmpty()) out.println(label + " " + ids);
    }

    static long graphProgress(GraphDatabaseService db) {
        return ((Number) db.getReferenceNode().getProperty("seq", 0L)).longValue();
    }

    /** The index keeps no readable values: finds the number digit by digit. */
    static long indexProgress(GraphDatabaseService db) {
        if (!db.index().existsForNodes("progress")) return 0;
        Index<Node> progress = db.index().forNodes("progress");
        String number = "";
        for (String longer = longer(progress, number); longer != null; longer = longer(progress, number)) number = longer;
        return number.isEmpty() ? 0 : Long.parseLong(number);
    }

    static String longer(Index<Node> progress, String number) {
        for (char digit = '0'; digit <= '9'; digit++) if (found(progress, number + digit + "*")) return number + digit;
        return null;
    }

    static boolean found(Index<Node> index, String query) {
        IndexHits<Node> hits = index.query("seq", query);
        boolean found = hits.hasNext();
        hits.close();
        return found;
    }

    /** The properties of the graph itself, or null where the release has none. */
    static PropertyContainer graphProperties(GraphDatabaseService db) {
        try {
            Object manager = method(db, "getNodeManager");
            return manager == null ? null : (PropertyContainer) method(manager, "getGraphProperties");
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    static Object method(Object target, String name) throws ReflectiveOperationException {
        try {
            Method method = target.getClass().getMethod(name);
            method.setAccessible(true);
            return method.invoke(target);
        } catch (NoSuchMethodException e) {
            return null;
        }
    }

    static TreeSet<String> sorted(String[] names) {
        return new TreeSet<String>(Arrays.asList(names));
    }

    static TreeMap<String, String> properties(PropertyContainer entity) {
        TreeMap<String, String> properties = new TreeMap<String, String>();
        for (String key : entity.getPropertyKeys()) properties.put(key, text(entity.getProperty(key)));
        return properties;
    }

    static String text(Object value) {
        if (!value.getClass().isArray()) return value.getClass().getSimpleName() + ":" + ascii(value);
        StringBuilder text = new StringBuilder(value.getClass().getComponentType().getSimpleName()).append('[');
        for (int i = 0; i < Array.getLength(value); i++) text.append(i == 0 ? "" : ",").append(ascii(Array.get(value, i)));
        return text.append(']').toString();
    }

    static String ascii(Object value) {
        StringBuilder text = new StringBuilder();
        for (char c : value.toString().toCharArray())
            if (c >= ' ' && c <= '~' && c != '\\') text.append(c);
            else text.append(String.format("\\u%04x", (int) c));
        return text.toString();
    }
}
