package android.graphics;

import java.io.InputStream;

public class BitmapFactory {
    public static class Options {
        public boolean inJustDecodeBounds;
        public int inSampleSize;
        public int outWidth;
        public int outHeight;
    }

    public static Bitmap decodeStream(InputStream stream, Rect padding, Options options) {
        return null;
    }

    public static Bitmap decodeByteArray(byte[] data, int offset, int length) {
        return null;
    }
}
