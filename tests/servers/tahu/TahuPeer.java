import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.eclipse.tahu.message.SparkplugBPayloadDecoder;
import org.eclipse.tahu.message.SparkplugBPayloadEncoder;
import org.eclipse.tahu.message.model.DataSet;
import org.eclipse.tahu.message.model.DataSetDataType;
import org.eclipse.tahu.message.model.File;
import org.eclipse.tahu.message.model.MetaData;
import org.eclipse.tahu.message.model.Metric;
import org.eclipse.tahu.message.model.MetricDataType;
import org.eclipse.tahu.message.model.Parameter;
import org.eclipse.tahu.message.model.ParameterDataType;
import org.eclipse.tahu.message.model.PropertyDataType;
import org.eclipse.tahu.message.model.PropertySet;
import org.eclipse.tahu.message.model.PropertyValue;
import org.eclipse.tahu.message.model.Row;
import org.eclipse.tahu.message.model.SparkplugBPayload;
import org.eclipse.tahu.message.model.Template;
import org.eclipse.tahu.message.model.Value;
import org.eclipse.tahu.model.MetricDataTypeMap;
import org.slf4j.LoggerFactory;

/**
 * Eclipse Tahu as a peer of the tests.
 *
 * <p>{@code write MILLISECONDS} prints the messages of a node, a line each: verb, device (or "-"), payload in base64.
 * {@code read} takes payloads in base64, a line each, births first, and prints what Tahu understood, as JSON.
 */
public final class TahuPeer {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static Date now;
  private static long seq;

  public static void main(String[] arguments) throws Exception {
    ((Logger) LoggerFactory.getLogger("ROOT")).setLevel(Level.OFF);
    if (arguments[0].equals("write")) {
      now = new Date(Long.parseLong(arguments[1]));
      write();
    } else {
      read();
    }
  }

  private static void read() throws Exception {
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    MetricDataTypeMap types = new MetricDataTypeMap();
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      SparkplugBPayload payload =
          new SparkplugBPayloadDecoder().buildFromByteArray(Base64.getDecoder().decode(line), types);
      List<Map<String, Object>> metrics = new ArrayList<>();
      for (Metric metric : payload.getMetrics()) {
        if (metric.hasName()) {
          types.addMetricDataType(metric.getName(), metric.getDataType());
          if (metric.hasAlias()) {
            types.addMetricDataType(metric.getAlias(), metric.getDataType());
          }
        }
        metrics.add(understood(metric));
      }
      Map<String, Object> found = new LinkedHashMap<>();
      found.put("timestamp", payload.getTimestamp().getTime());
      found.put("seq", payload.getSeq());
      found.put("metrics", metrics);
      System.out.println(JSON.writeValueAsString(found));
    }
  }

  private static Map<String, Object> understood(Metric metric) {
    Map<String, Object> found = new LinkedHashMap<>();
    found.put("name", metric.hasName() ? metric.getName() : null);
    found.put("alias", metric.hasAlias() ? metric.getAlias() : null);
    found.put("timestamp", metric.getTimestamp() == null ? null : metric.getTimestamp().getTime());
    found.put("type", metric.getDataType().toString());
    found.put("historical", metric.isHistorical());
    found.put("transient", metric.isTransient());
    found.put("value", plain(metric.getValue()));
    Map<String, Object> properties = new LinkedHashMap<>();
    if (metric.getProperties() != null) {
      for (Map.Entry<String, PropertyValue<?>> each : entries(metric.getProperties())) {
        properties.put(each.getKey(), plain(each.getValue().getValue()));
      }
    }
    found.put("properties", properties);
    return found;
  }

  @SuppressWarnings({"unchecked", "rawtypes"})
  private static Iterable<Map.Entry<String, PropertyValue<?>>> entries(PropertySet set) {
    return (Iterable) set.getPropertyMap().entrySet();
  }

  private static Object plain(Object value) {
    if (value instanceof Date) {
      return ((Date) value).getTime();
    }
    return value instanceof byte[] ? Base64.getEncoder().encodeToString((byte[]) value) : value;
  }

  private static void write() throws Exception {
    Metric bdSeq = metric("bdSeq", null, MetricDataType.Int64, 0L).createMetric();
    say("NBIRTH", "-", payload(bdSeq, metric("Node Control/Rebirth", null, MetricDataType.Boolean, false).createMetric(),
        metric("Motor", null, MetricDataType.Template, motor(true, 0, 0)).createMetric()));
    List<Metric> birth = new ArrayList<>();
    List<Metric> nulls = new ArrayList<>();
    List<Metric> data = new ArrayList<>();
    long alias = 100;
    for (Object[] each : values()) {
      String name = each[0].toString();
      MetricDataType type = (MetricDataType) each[0];
      birth.add(metric(name, alias, type, each[1]).createMetric());
      nulls.add(metric(null, alias, type, null).createMetric());
      data.add(metric(null, alias, type, each[2]).createMetric());
      alias++;
    }
    birth.add(described());
    say("DBIRTH", "machine", payload(birth.toArray(new Metric[0])));
    say("DDATA", "machine", payload(data.toArray(new Metric[0])));
    say("DDATA", "machine", payload(nulls.toArray(new Metric[0])));
    Date earlier = new Date(now.getTime() - 3_600_000L);
    say("DDATA", "machine", payload(
        metric("Described", null, MetricDataType.Double, 1.0).timestamp(earlier).isHistorical(true).createMetric(),
        metric("Described", null, MetricDataType.Double, 2.0).isTransient(true).createMetric(),
        metric("Described", null, MetricDataType.Double, 3.0).createMetric()));
  }

  private static Object[][] values() throws Exception {
    return new Object[][] {
      {MetricDataType.Int8, (byte) -128, (byte) -1},
      {MetricDataType.Int16, (short) -32768, (short) -2},
      {MetricDataType.Int32, Integer.MIN_VALUE, -3},
      {MetricDataType.Int64, Long.MIN_VALUE, -4L},
      {MetricDataType.UInt8, (short) 255, (short) 0},
      {MetricDataType.UInt16, 65535, 1},
      {MetricDataType.UInt32, 4294967295L, 2L},
      {MetricDataType.UInt64, new BigInteger("18446744073709551615"), BigInteger.TEN},
      {MetricDataType.Float, 0.5f, -1.25f},
      {MetricDataType.Double, 1e300, -0.1},
      {MetricDataType.Boolean, true, false},
      {MetricDataType.String, "ä€", ""},
      {MetricDataType.DateTime, now, new Date(1L)},
      {MetricDataType.Text, "text", "t2"},
      {MetricDataType.UUID, "01234567-89ab-cdef-0123-456789abcdef", "u2"},
      {MetricDataType.Bytes, new byte[] {0, -1}, new byte[] {}},
      {MetricDataType.File, new File("a.bin", new byte[] {77, 90}), new File("b.bin", new byte[] {1})},
      {MetricDataType.DataSet, dataSet(-1), dataSet(-2)},
      {MetricDataType.Template, motor(false, -1480, -2), motor(false, -1, -3)},
      {MetricDataType.Int8Array, new Byte[] {-128, 127}, new Byte[] {-1}},
      {MetricDataType.Int16Array, new Short[] {-32768, 32767}, new Short[] {-1}},
      {MetricDataType.Int32Array, new Integer[] {Integer.MIN_VALUE, 5}, new Integer[] {-1}},
      {MetricDataType.Int64Array, new Long[] {Long.MIN_VALUE, 5L}, new Long[] {-1L}},
      {MetricDataType.UInt8Array, new Short[] {0, 255}, new Short[] {1}},
      {MetricDataType.UInt16Array, new Integer[] {0, 65535}, new Integer[] {1}},
      {MetricDataType.UInt32Array, new Long[] {0L, 4294967295L}, new Long[] {1L}},
      {MetricDataType.UInt64Array, new BigInteger[] {new BigInteger("18446744073709551615")}, new BigInteger[] {BigInteger.ONE}},
      {MetricDataType.FloatArray, new Float[] {1.5f, -0.25f}, new Float[] {0f}},
      {MetricDataType.DoubleArray, new Double[] {12.354213, -1e300}, new Double[] {0.0}},
      {MetricDataType.BooleanArray, new Boolean[] {true, true, false, true, false, false, true, true, false}, new Boolean[] {true}},
      {MetricDataType.StringArray, new String[] {"ABC", "hello"}, new String[] {"x"}},
      {MetricDataType.DateTimeArray, new Date[] {new Date(1256102875335L)}, new Date[] {new Date(1L)}},
    };
  }

  private static Metric described() throws Exception {
    PropertySet limits = new PropertySet.PropertySetBuilder()
        .addProperty("low", new PropertyValue<>(PropertyDataType.Int32, -5)).createPropertySet();
    PropertySet properties = new PropertySet.PropertySetBuilder()
        .addProperty("engUnit", new PropertyValue<>(PropertyDataType.String, "kN"))
        .addProperty("limits", new PropertyValue<>(PropertyDataType.PropertySet, limits))
        .addProperty("list", new PropertyValue<>(PropertyDataType.PropertySetList, Arrays.asList(limits)))
        .addProperty("Quality", new PropertyValue<>(PropertyDataType.Int32, 500))
        .createPropertySet();
    MetaData about = new MetaData.MetaDataBuilder().description("force of the ram").createMetaData();
    return metric("Described", null, MetricDataType.Double, 0.0).properties(properties).metaData(about).createMetric();
  }

  private static DataSet dataSet(int first) throws Exception {
    return new DataSet.DataSetBuilder(3)
        .addColumnName("n").addColumnName("text").addColumnName("at")
        .addType(DataSetDataType.Int8).addType(DataSetDataType.String).addType(DataSetDataType.DateTime)
        .addRow(new Row.RowBuilder()
            .addValue(new Value<>(DataSetDataType.Int8, (byte) first))
            .addValue(new Value<>(DataSetDataType.String, "a"))
            .addValue(new Value<>(DataSetDataType.DateTime, new Date(5L))).createRow())
        .createDataSet();
  }

  private static Template motor(boolean definition, int rpm, int poles) throws Exception {
    return new Template.TemplateBuilder().version("2").templateRef(definition ? null : "Motor").definition(definition)
        .addMetric(metric("rpm", null, MetricDataType.Int32, rpm).createMetric())
        .addMetric(metric("on", null, MetricDataType.Boolean, true).createMetric())
        .addParameter(new Parameter("poles", ParameterDataType.Int32, poles)).createTemplate();
  }

  private static Metric.MetricBuilder metric(String name, Long alias, MetricDataType type, Object value) {
    Metric.MetricBuilder made = new Metric.MetricBuilder(name, type, value).timestamp(now);
    return alias == null ? made : made.alias(alias);
  }

  private static SparkplugBPayload payload(Metric... metrics) {
    return new SparkplugBPayload.SparkplugBPayloadBuilder(seq++).setTimestamp(now).addMetrics(Arrays.asList(metrics))
        .createPayload();
  }

  private static void say(String verb, String device, SparkplugBPayload payload) throws Exception {
    // Data without data types, as the specification wants it.
    byte[] bytes = new SparkplugBPayloadEncoder().getBytes(payload, verb.endsWith("DATA"));
    System.out.println(verb + " " + device + " " + Base64.getEncoder().encodeToString(bytes));
  }
}
