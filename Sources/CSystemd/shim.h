// libsystemd: readiness, watchdog, socket activation and the journal (sd-daemon(3), sd-journal(3)).
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>
