#include "app/commands.h"

int main(int argc, char** argv) { return vtrain::run_command(argc, argv); }
