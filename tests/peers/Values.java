import java.lang.reflect.Array;
import java.util.Random;
import org.neo4j.index.lucene.ValueContext;

/** Random property and index values. */
class Values {
    /** The two oldest releases cannot read back empty arrays nor most arrays of eight and more booleans. */
    static boolean oldArrays;

    static String text(Random random, int length) {
        StringBuilder text = new StringBuilder();
        boolean latin = random.nextBoolean();
        for (int i = 0; i < length; i++)
            text.append((char) (!latin && i % 11 == 5 ? 0x4e00 + random.nextInt(200) : 'a' + random.nextInt(26)));
        return text.toString();
    }

    /** Short words, so that they meet again, in several scripts and one in two. */
    static String word(Random random) {
        String word = "" + (char) ('a' + random.nextInt(6)) + (char) ('a' + random.nextInt(4));
        int choice = random.nextInt(6);
        if (choice == 0) return word + (char) (0x4e00 + random.nextInt(4));
        if (choice == 1) return word + " " + (char) (0x430 + random.nextInt(6)) + word;
        return word;
    }

    static String shortText(Random random) {
        String[] alphabets = {"0123456789", "0123456789-. +,'", "ABCDEFGH _.:", "abcdefgh _.:", "abc@example.com",
            "abcABC0123_.", "\u00e4\u00f6\u00fc\u00e9abc", "\u0430\u0431\u0432", "\ud83d\ude00x"};
        String alphabet = alphabets[random.nextInt(alphabets.length)];
        StringBuilder text = new StringBuilder();
        for (int i = random.nextInt(16); i > 0; i--) text.append(alphabet.charAt(random.nextInt(alphabet.length())));
        return text.toString().replaceAll("[\ud800-\udfff]", "\ud83d\ude00");
    }

    static long[] longs(Random random, int length) {
        long[] longs = new long[length];
        int bits = 1 + random.nextInt(64);
        for (int i = 0; i < length; i++) longs[i] = random.nextLong() >>> (64 - bits);
        return longs;
    }

    static Object numeric(Random random) {
        long n = random.nextInt(1000);
        Object value;
        switch (random.nextInt(4)) {
            case 0: value = (int) n; break;
            case 1: value = n; break;
            case 2: value = (float) n; break;
            default: value = (double) n;
        }
        return new ValueContext(value).indexNumeric();
    }

    static Object any(Random random) {
        switch (random.nextInt(14)) {
            case 0: return random.nextBoolean();
            case 1: return (byte) random.nextInt();
            case 2: return (short) random.nextInt();
            case 3: return (char) (' ' + random.nextInt(0xd000));
            case 4: return random.nextInt() >> random.nextInt(32);
            case 5: case 6: return random.nextLong() >> random.nextInt(64);
            case 7: return random.nextFloat();
            case 8: return random.nextDouble();
            case 9: return text(random, random.nextInt(60));
            case 10: return text(random, random.nextInt(700));
            case 11: return shortText(random);
            default: return array(random);
        }
    }

    static Object array(Random random) {
        int length = (random.nextInt(3) == 0 ? random.nextInt(120) : random.nextInt(8)) + (oldArrays ? 1 : 0);
        if (random.nextInt(5) == 0) {
            String[] strings = new String[length];
            for (int i = 0; i < length; i++) strings[i] = random.nextBoolean() ? shortText(random) : text(random, random.nextInt(50));
            return strings;
        }
        Class<?>[] types = {boolean.class, byte.class, short.class, char.class, int.class, long.class, float.class, double.class};
        Class<?> type = types[random.nextInt(types.length)];
        int bits = 1 + random.nextInt(64);
        if (oldArrays && type == boolean.class) length = Math.min(length, 7);
        Object array = Array.newInstance(type, length);
        for (int i = 0; i < length; i++) {
            long n = random.nextLong() >>> (64 - bits);
            if (type == boolean.class) Array.setBoolean(array, i, (n & 1) == 1);
            else if (type == byte.class) Array.setByte(array, i, (byte) n);
            else if (type == short.class) Array.setShort(array, i, (short) n);
            else if (type == char.class) Array.setChar(array, i, (char) (n % 0xd800));
            else if (type == int.class) Array.setInt(array, i, (int) n);
            else if (type == long.class) Array.setLong(array, i, n);
            else if (type == float.class) Array.setFloat(array, i, random.nextFloat());
            else Array.setDouble(array, i, random.nextDouble());
        }
        return array;
    }
}
