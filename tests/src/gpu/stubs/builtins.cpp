// Stands for NVRTC's builtins, which need only be loaded.
extern "C" {
extern const int anact_stub_builtins;
const int anact_stub_builtins = 1;
}
