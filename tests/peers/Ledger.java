import java.util.*;
import org.neo4j.graphdb.*;
import org.neo4j.graphdb.index.*;

/**
 * A load whose every committed state can be told from all others, whichever member of a cluster writes it and whatever
 * fails meanwhile: each transaction books one pair of nodes with a relationship between them, or strikes one, and keeps
 * the number of pairs at the reference node. What is not booked as a whole breaks the balance. Each leaves a node of its
 * own behind for ever, by which a history that has it is known.
 */
class Ledger extends Thread {
    enum Type implements RelationshipType { BOOKED }

    final GraphDatabaseService db;
    final int rate;
    final Random random = new Random();
    final ArrayDeque<Long> own = new ArrayDeque<Long>();
    volatile boolean stopping;
    volatile long committed, failed;

    /** Writes RATE transactions a second; whatever fails, it goes on. */
    Ledger(GraphDatabaseService db, int rate) {
        this.db = db;
        this.rate = rate;
    }

    @Override
    public void run() {
        while (!stopping) {
            try {
                transaction();
                committed++;
            } catch (Throwable e) {
                failed++;
            }
            try {
                Thread.sleep(1000 / rate);
            } catch (InterruptedException e) {
                return;
            }
        }
    }

    void transaction() {
        Transaction tx = db.beginTx();
        Long booked = null;
        try {
            Node total = db.getReferenceNode();
            // the lock comes first, so that transactions of two members follow each other
            total.setProperty("turn", random.nextLong());
            long pairs = (Long) total.getProperty("pairs", 0L);
            long booking = (Long) total.getProperty("bookings", 0L) + 1;
            String name = booking + "-" + random.nextLong();
            db.createNode().setProperty("made", name);
            if (own.size() > 20 && random.nextInt(3) == 0) {
                strike(db.getNodeById(own.poll()));
                pairs--;
            } else {
                booked = book(name, booking);
                pairs++;
            }
            total.setProperty("pairs", pairs);
            total.setProperty("bookings", booking);
            total.setProperty("last", name);
            tx.success();
        } finally {
            tx.finish();
        }
        if (booked != null) own.add(booked);
    }

    long book(String name, long booking) {
        Node from = db.createNode(), to = db.createNode();
        from.setProperty("pair", name);
        from.setProperty("booking", booking);
        to.setProperty("pair", name);
        if (random.nextInt(4) == 0) to.setProperty("text", Values.text(random, 100 + random.nextInt(300)));
        from.createRelationshipTo(to, Type.BOOKED).setProperty("pair", name);
        db.index().forNodes("ledger").add(from, "pair", name);
        return from.getId();
    }

    void strike(Node from) {
        Relationship booked = from.getSingleRelationship(Type.BOOKED, Direction.OUTGOING);
        Node to = booked.getEndNode();
        db.index().forNodes("ledger").remove(from);
        booked.delete();
        from.delete();
        to.delete();
    }

    /** Number of pairs and of bookings, the name of the last booking, and what is wrong with the index; fails where a
     *  transaction is there in part. */
    static String balance(GraphDatabaseService db) {
        Map<String, Integer> nodes = new HashMap<String, Integer>();
        long relationships = 0;
        for (Node node : db.getAllNodes()) {
            Object pair = node.getProperty("pair", null);
            if (pair == null) continue;
            nodes.put((String) pair, nodes.containsKey(pair) ? nodes.get(pair) + 1 : 1);
            for (Relationship booked : node.getRelationships(Type.BOOKED, Direction.OUTGOING)) {
                relationships++;
                if (!pair.equals(booked.getProperty("pair")) || !pair.equals(booked.getEndNode().getProperty("pair")))
                    throw new IllegalStateException("relationship " + booked.getId() + " is of another pair");
            }
        }
        for (Map.Entry<String, Integer> pair : nodes.entrySet())
            if (pair.getValue() != 2) throw new IllegalStateException(pair + " nodes of a pair");
        long pairs = (Long) db.getReferenceNode().getProperty("pairs", 0L);
        if (nodes.size() != pairs || relationships != pairs)
            throw new IllegalStateException(pairs + " pairs, " + nodes.size() + " of nodes, " + relationships + " relationships");
        long bookings = (Long) db.getReferenceNode().getProperty("bookings", 0L);
        // entries of nodes that are not there are counted, though not shown
        if (db.index().existsForNodes("ledger") && db.index().forNodes("ledger").query("pair", (bookings + 1) + "-*").size() > 0)
            throw new IllegalStateException("the index has booking " + (bookings + 1) + ", which the graph lacks");
        return pairs + " " + bookings + " " + last(db) + " " + unindexed(db);
    }

    /** The name of the last booking. */
    static String last(GraphDatabaseService db) {
        return (String) db.getReferenceNode().getProperty("last", "none");
    }

    /** Whether this booking was ever made in this history; while others write, too. */
    static boolean hasMade(GraphDatabaseService db, String name) {
        if (name.equals("none")) return true;
        for (Node node : db.getAllNodes()) {
            try {
                if (name.equals(node.getProperty("made", null))) return true;
            } catch (NotFoundException struck) {
                continue;
            }
        }
        return false;
    }

    /** The number of entries of nodes that are not there, and the names of the pairs that the index lacks; while others
     *  write, too. */
    static String unindexed(GraphDatabaseService db) {
        Map<Long, String> pairs = new TreeMap<Long, String>();
        for (Node node : db.getAllNodes()) {
            try {
                if (node.hasProperty("booking")) pairs.put(node.getId(), (String) node.getProperty("pair"));
            } catch (NotFoundException struck) {
                continue;
            }
        }
        long shown = 0, counted = 0;
        if (db.index().existsForNodes("ledger")) {
            IndexHits<Node> hits = db.index().forNodes("ledger").query("pair", "*");
            counted = hits.size();
            for (Node hit : hits) {
                pairs.remove(hit.getId());
                shown++;
            }
        }
        StringBuilder names = new StringBuilder().append(counted - shown);
        for (String name : pairs.values()) names.append(" ").append(name);
        return names.toString();
    }
}
