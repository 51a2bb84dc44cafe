package conformance

import (
	"testing"
)

// Run runs the suite. newHarness is called once per claim; what it returns may be
// shared by all, guests are not.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	claims := []struct {
		name  string
		check func(*testing.T, Harness)
	}{
		{"AbsentDomainIsAStateNotAnError", absent},
		{"HostTellsWhatGuestsCanHave", hostFacts},
		{"CreatedGuestDoesNotExecuteUntilResumed", createdPaused},
		{"CreatedGuestIsToldApartAfterARestart", createdAfterRestart},
		{"EventsComeInOrder", eventOrder},
		{"SecondGuestOfTheSameUUIDIsRefused", duplicate},
		{"BrokenDocumentIsInvalid", brokenDocument},
		{"ActiveGuestsAreListed", listed},
		{"DocumentIsThatOfTheGuest", document},
		{"DestroyReturnsWhenGoneAndMayBeRepeated", destroy},
		{"ShutdownEndsInStoppedShutdown", shutdown},
		{"PowerOffFromInsideEndsInStoppedShutdown", powerOff},
		{"KilledProcessEndsInStoppedCrashed", crash},
		{"KilledProcessThatNeverRanEndsInStoppedFailed", failed},
		{"UndefineLeavesTheProcess", undefine},
		{"SecretIsSetReplacedAndLostWithTheService", secret},
		{"DiskOfARunningGuestGrows", grow},
		{"MigratedGuestArrivesPausedAndComplete", migrate},
		{"MigrationToNowhereLeavesTheGuestRunning", migrateNowhere},
		{"MigrationOntoItsTwinIsRefused", migrateTwin},
		{"AbortedMigrationLeavesTheGuestRunning", abort},
		{"MigrationWhoseCallerGivesUpIsAborted", migrateCancelled},
		{"ArrivingGuestIsNotResumed", resumeIncoming},
		{"PeerTellsWhatIsThere", peer},
		{"ServiceRestartLeavesGuestsAndResyncs", restart},
	}
	for _, c := range claims {
		t.Run(c.name, func(t *testing.T) { c.check(t, newHarness(t)) })
	}
}
