import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import java.util.List;

/** mongo-java-server on a port of the loopback interface, until it is told to end. */
public final class StandIn {
    /** As MongoDB 4.4 numbers its protocol, the oldest that pymongo talks to; by itself it would say less. */
    private static final MongoVersion SPOKEN = new MongoVersion() {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(4, 4, 0);
        }

        @Override
        public int getWireVersion() {
            return 9;
        }
    };

    public static void main(String[] arguments) throws InterruptedException {
        MemoryBackend backend = new MemoryBackend();
        backend.version(SPOKEN);
        new MongoServer(backend).bind("127.0.0.1", Integer.parseInt(arguments[0]));
        System.out.println("listening");
        Thread.currentThread().join();
    }
}
