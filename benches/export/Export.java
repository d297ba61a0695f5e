import java.io.BufferedWriter;
import java.io.FileWriter;
import java.io.PrintWriter;
import org.neo4j.graphdb.Direction;
import org.neo4j.graphdb.Node;
import org.neo4j.graphdb.PropertyContainer;
import org.neo4j.graphdb.Relationship;
import org.neo4j.kernel.EmbeddedReadOnlyGraphDatabase;
import org.neo4j.tooling.GlobalGraphOperations;

/**
 * Writes the CSV files that `export` writes for the store of benches/check/store.rs, with Neo4j 1.9.9.
 *
 * usage: Export DB OUT
 */
public class Export {
    public static void main(String[] args) throws Exception {
        EmbeddedReadOnlyGraphDatabase db = new EmbeddedReadOnlyGraphDatabase(args[0]);
        GlobalGraphOperations all = GlobalGraphOperations.at(db);
        try (PrintWriter nodes = open(args[1] + "/nodes.csv")) {
            nodes.println(":ID");
            for (Node node : all.getAllNodes()) nodes.println(node.getId());
        }
        try (PrintWriter relationships = open(args[1] + "/relationships.csv")) {
            String key = args[2];
            relationships.println(":START_ID,:END_ID,:TYPE,\"" + key + ":" + args[3] + "\"");
            for (Relationship r : all.getAllRelationships())
                relationships.println(r.getStartNode().getId() + "," + r.getEndNode().getId() + ",\""
                    + r.getType().name() + "\"," + r.getProperty(key, ""));
        }
        db.shutdown();
    }

    static PrintWriter open(String file) throws Exception {
        return new PrintWriter(new BufferedWriter(new FileWriter(file), 1 << 20));
    }
}
