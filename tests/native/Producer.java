// A foreign producer with Kafka's own client: `java -cp 'target/kafka/*' Producer.java BROKERS TOPIC [NAME=VALUE...]`.
//
// It understands what produce.py does, one JSON object a line, except that a record in protobuf is always a put:
// {"put": {"value": hex, "content_type": text}}. With `transactional.id=…` among the settings, {"transaction": "begin"},
// "commit" and "abort" do that and answer {}; what is sent in between belongs to the transaction.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Producer {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final String topic;
    private final KafkaProducer<byte[], byte[]> producer;

    private Producer(String topic, Properties settings) {
        this.topic = topic;
        this.producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        if (settings.containsKey(ProducerConfig.TRANSACTIONAL_ID_CONFIG)) {
            producer.initTransactions();
        }
    }

    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        for (int at = 2; at < arguments.length; at++) {
            String[] setting = arguments[at].split("=", 2);
            settings.put(setting[0], setting[1]);
        }
        Producer client = new Producer(arguments[1], settings);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            System.out.println(client.answer(JSON.readTree(line)));
            System.out.flush();
        }
        // A transaction that is open stays open, as after a crash.
        Runtime.getRuntime().halt(0);
    }

    private ObjectNode answer(JsonNode asked) throws Exception {
        if (asked.has("partitions_of")) {
            return partitions(asked);
        }
        if (asked.has("transaction")) {
            switch (asked.get("transaction").asText()) {
                case "begin" -> producer.beginTransaction();
                case "commit" -> producer.commitTransaction();
                case "abort" -> producer.abortTransaction();
                default -> throw new IllegalArgumentException(asked.toString());
            }
            return JSON.createObjectNode();
        }
        return send(asked);
    }

    private ObjectNode send(JsonNode asked) throws Exception {
        byte[] value = asked.has("put") ? put(asked.get("put")) : bytes(asked.get("value"));
        Integer partition = asked.hasNonNull("partition") ? asked.get("partition").asInt() : null;
        ProducerRecord<byte[], byte[]> sent =
                new ProducerRecord<>(topic, partition, bytes(asked.get("key")), value);
        for (JsonNode header : asked.path("headers")) {
            sent.headers().add(header.get(0).asText(), bytes(header.get(1)));
        }
        RecordMetadata ack = producer.send(sent).get();
        return JSON.createObjectNode().put("partition", ack.partition()).put("offset", ack.offset());
    }

    private static ObjectNode partitions(JsonNode asked) {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode all = answer.putArray("partitions");
        for (JsonNode key : asked.get("partitions_of")) {
            ArrayNode of = all.addArray();
            for (JsonNode count : asked.get("counts")) {
                of.add(BuiltInPartitioner.partitionForKey(bytes(key), count.asInt()));
            }
        }
        return answer;
    }

    private static byte[] bytes(JsonNode hex) {
        return hex == null || hex.isNull() ? null : HexFormat.of().parseHex(hex.asText());
    }

    // A millpond.v1.Record with a Put, by hand: field 16 of the Record, fields 1 and 2 of the Put.
    private static byte[] put(JsonNode put) {
        ByteArrayOutputStream inner = new ByteArrayOutputStream();
        field(inner, 1, bytes(put.get("value")));
        field(inner, 2, put.get("content_type").asText().getBytes(StandardCharsets.UTF_8));
        ByteArrayOutputStream record = new ByteArrayOutputStream();
        field(record, 16, inner.toByteArray());
        return record.toByteArray();
    }

    private static void field(ByteArrayOutputStream out, int number, byte[] data) {
        varint(out, number << 3 | 2);
        varint(out, data.length);
        out.writeBytes(data);
    }

    private static void varint(ByteArrayOutputStream out, int number) {
        while (number > 0x7f) {
            out.write(number & 0x7f | 0x80);
            number >>>= 7;
        }
        out.write(number);
    }
}
