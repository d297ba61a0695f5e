import java.io.PrintWriter;
import java.lang.reflect.Array;
import java.nio.file.Path;
import java.util.*;
import org.neo4j.dbms.api.*;
import org.neo4j.graphdb.*;

/**
 * Writes what a database of Neo4j 5 holds, in the words of Dump.java: "N ID PROPERTIES LABELS", "R TYPE START->END
 * PROPERTIES". Runs the Cypher statements of a file first, if one is given: "Q ROW" is a row of a result.
 *
 * usage: Read HOME FILE [STATEMENTS]
 */
public class Read {
    public static void main(String[] args) throws Exception {
        DatabaseManagementService service = new DatabaseManagementServiceBuilder(Path.of(args[0])).build();
        try (PrintWriter out = new PrintWriter(args[1], "UTF-8")) {
            GraphDatabaseService db = service.database("neo4j");
            if (args.length > 2) run(db, Path.of(args[2]), out);
            try (Transaction tx = db.beginTx(); ResourceIterable<Node> nodes = tx.getAllNodes();
                    ResourceIterable<Relationship> relationships = tx.getAllRelationships()) {
                for (Node node : nodes) {
                    TreeSet<String> labels = new TreeSet<>();
                    for (Label label : node.getLabels()) labels.add(ascii(label.name()));
                    out.println("N " + node.getId() + " " + properties(node) + " " + labels);
                }
                for (Relationship r : relationships)
                    out.println("R " + ascii(r.getType().name()) + " " + r.getStartNodeId() + "->" + r.getEndNodeId()
                        + " " + properties(r));
            }
        } finally {
            service.shutdown();
        }
    }

    /** One statement a line. */
    static void run(GraphDatabaseService db, Path statements, PrintWriter out) throws Exception {
        for (String line : java.nio.file.Files.readAllLines(statements))
            if (!line.isEmpty() && !line.startsWith("//"))
                db.executeTransactionally(line, Map.of(), rows -> {
                    while (rows.hasNext()) {
                        TreeMap<String, String> row = new TreeMap<>();
                        rows.next().forEach((name, value) -> row.put(name, value == null ? "null" : text(value)));
                        out.println("Q " + row);
                    }
                    return null;
                });
    }

    static TreeMap<String, String> properties(Entity entity) {
        TreeMap<String, String> properties = new TreeMap<>();
        for (String key : entity.getPropertyKeys()) properties.put(ascii(key), text(entity.getProperty(key)));
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
