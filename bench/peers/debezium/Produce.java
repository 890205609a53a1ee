import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.function.LongSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Fills a topic for a sink to drain. Makes it first; then, for every number that it reads, sends so many records and an
 * end to every partition, and answers, when all are acknowledged, with how many different keys the topic holds by then.
 *
 * <p>With "remove" instead of keys and partitions it removes the topic.
 *
 * <p>Keys are key-000000000000 to key-000000999999, values 256 random bytes. An end's key is end-ROUND-PARTITION.
 */
final class Produce {
  private static final int KEYS = 1_000_000;
  private static final int VALUE_BYTES = 256;
  private static final double THETA = 0.99;

  private final KafkaProducer<String, byte[]> producer;
  private final String topic;
  private final LongSupplier draw;
  private final BitSet seen = new BitSet(KEYS);
  private final Random bytes = new Random(1);
  private int others;

  private Produce(String broker, String topic, LongSupplier draw) {
    Map<String, Object> settings =
        Map.of("bootstrap.servers", broker, "acks", "all", "compression.type", "lz4", "linger.ms", 20);
    this.producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer());
    this.topic = topic;
    this.draw = draw;
  }

  public static void main(String[] arguments) throws Exception {
    String broker = arguments[0];
    String topic = arguments[1];
    String keys = arguments[2];
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
      if (keys.equals("remove")) {
        admin.deleteTopics(List.of(topic)).all().get();
        return;
      }
      admin.createTopics(List.of(new NewTopic(topic, Integer.parseInt(arguments[3]), (short) 1))).all().get();
    }
    int partitions = Integer.parseInt(arguments[3]);
    SplittableRandom random = new SplittableRandom(1);
    LongSupplier draw =
        switch (keys) {
          case "uniform" -> () -> random.nextLong(KEYS);
          case "zipf" -> zipf(random);
          default -> throw new IllegalArgumentException("there are no keys " + keys);
        };
    Produce produce = new Produce(broker, topic, draw);
    BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
    int round = 0;
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      System.out.println(produce.send(Integer.parseInt(line), round, partitions));
      round++;
    }
    produce.producer.close();
  }

  private int send(int records, int round, int partitions) {
    for (int sent = 0; sent < records; sent++) {
      int key = (int) draw.getAsLong();
      seen.set(key);
      send(new ProducerRecord<>(topic, String.format("key-%012d", key), value()));
    }
    for (int partition = 0; partition < partitions; partition++) {
      send(new ProducerRecord<>(topic, partition, "end-" + round + "-" + partition, value()));
      others++;
    }
    producer.flush();
    return seen.cardinality() + others;
  }

  /** A record that is not acknowledged ends the program: a log with holes measures nothing. */
  private void send(ProducerRecord<String, byte[]> record) {
    producer.send(
        record,
        (metadata, refused) -> {
          if (refused != null) {
            refused.printStackTrace();
            Runtime.getRuntime().halt(1);
          }
        });
  }

  private byte[] value() {
    byte[] value = new byte[VALUE_BYTES];
    bytes.nextBytes(value);
    return value;
  }

  /** Ranks by Gray et al. (1994), as YCSB draws them, not scrambled: key 0 is the hottest. */
  private static LongSupplier zipf(SplittableRandom random) {
    double zeta = 0;
    for (int rank = 1; rank <= KEYS; rank++) {
      zeta += 1 / Math.pow(rank, THETA);
    }
    double all = zeta;
    double two = 1 + Math.pow(0.5, THETA);
    double eta = (1 - Math.pow(2.0 / KEYS, 1 - THETA)) / (1 - two / all);
    return () -> {
      double uniform = random.nextDouble();
      double scaled = uniform * all;
      if (scaled < 1) {
        return 0;
      }
      if (scaled < two) {
        return 1;
      }
      return Math.min(KEYS - 1, (long) (KEYS * Math.pow(eta * uniform - eta + 1, 1 / (1 - THETA))));
    };
  }
}
