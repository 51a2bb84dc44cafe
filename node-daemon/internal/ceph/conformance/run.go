package conformance

import (
	"testing"
)

// Run runs the suite. The harness may be shared by all claims; pools and OSDs are not.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	claims := []struct {
		name  string
		check func(*testing.T, Harness)
	}{
		{"StatusAndUsageAreTextAndJSON", status},
		{"FlagsAreSetAndClearedAndMayBeRepeated", flags},
		{"UnknownFlagIsInvalid", unknownFlag},
		{"CreatedPoolIsListedAndForRBD", createdPool},
		{"SecondPoolOfANameIsRefused", secondPool},
		{"ImpossiblePlacementGroupsAreInvalid", impossiblePool},
		{"InitialisingAPoolMayBeRepeated", initPool},
		{"PoolIsRemovedOnlyUnderItsID", removePool},
		{"UnknownPoolIsNamed", unknownPool},
		{"CreatedImageIsDescribed", createdImage},
		{"LookSeesWhatIsRead", lookedAt},
		{"NamesMayHaveBlanksAndOtherScripts", strangeNames},
		{"SecondImageOfANameIsRefused", secondImage},
		{"OfImagesMadeAtOnceUnderOneNameOneIs", oneName},
		{"ImagesAreMadeAtTheSameTime", manyNames},
		{"ListLeavesOutWhatVanishes", vanishing},
		{"SurveyFollowsEveryChange", survey},
		{"AbsentImageIsNotFound", absentImage},
		{"ImageGrowsAndShrinksOnlyWhenAsked", resize},
		{"RenamedImageKeepsItsID", rename},
		{"ImageIsNotRenamedOverAnother", renameTaken},
		{"RemovalTellsItsProgress", remove},
		{"ImageOfTheSameNameIsNotRemovedForAnother", removeReplaced},
		{"ImageWithSnapshotsIsNotRemoved", removeWithSnapshots},
		{"ImageThatIsOpenIsNotRemoved", removeOpen},
		{"WatchersAreOthersOnly", watchers},
		{"SnapshotsHaveIDs", snapshots},
		{"ProtectedSnapshotIsNotRemoved", protectedSnapshot},
		{"TrashIsListedAndNoImage", trash},
		{"OSDsAreListed", osds},
		{"OSDIsMarkedOutAndIn", osdIn},
		{"NewOSDKeepsItsIdentityAndIsPurgedUnderItsUUID", newOSD},
		{"RunningOSDIsNotPurged", purgeRunning},
		{"FencedClientChangesNothing", fenced},
		{"FencedClientComesBackUnderOtherAddresses", comesBack},
		{"WhatAFencedClientHasBegunEnds", endsWhenFenced},
		{"FenceMayBeRepeatedAndTakenBack", fenceTwice},
		{"ShortEntryIsNoFence", shortFence},
		{"FenceOfWhatIsNoAddressIsInvalid", fenceInvalid},
		{"HangingClusterIsUnavailableAndComesBack", hanging},
		{"CallerWhoHasGivenUpIsToldAtOnce", givenUp},
	}
	for _, c := range claims {
		t.Run(c.name, func(t *testing.T) { c.check(t, newHarness(t)) })
	}
}
