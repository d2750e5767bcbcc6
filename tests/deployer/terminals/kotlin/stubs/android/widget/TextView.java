package android.widget;

import android.view.View;

public class TextView extends View {
    public CharSequence getText() {
        return null;
    }

    public final void setText(CharSequence text) {}

    public final void setText(int id) {}

    public final void setHint(int id) {}
}
