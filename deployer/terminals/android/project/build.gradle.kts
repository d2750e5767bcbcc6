// Needs Gradle 8.9 or newer and a JDK 17, as Android Studio brings them.
plugins {
    id("com.android.application") version "8.7.3" apply false
    id("org.jetbrains.kotlin.android") version "2.0.21" apply false
}
