"""Who may say what to whom by a link: whoever says anything else has its link ended."""

from __future__ import annotations

from distpool.protocol.cluster import (
    AskLog,
    AskStacks,
    AskStatus,
    DrainNode,
    DrainTold,
    EndGroup,
    Enrol,
    Enrolled,
    FromWorker,
    Greeting,
    HeadKeyChanges,
    LeaseGranted,
    LeaseUnused,
    LeaveCluster,
    LetIn,
    Listens,
    NodeDrains,
    NodeGone,
    OpenGroup,
    Refused,
    RequestsDropped,
    RequestsWait,
    RevokeLease,
    StoreUse,
    ToWorker,
    UseLease,
    WantToLeave,
    Welcome,
)
from distpool.protocol.code import CodePiece, GroupFailed, NeedCode
from distpool.protocol.inquiries import NodeTold
from distpool.protocol.messages import (
    EndWorker,
    GrantLease,
    GroupGone,
    InterruptWorker,
    LeaseLost,
    LeaseStarted,
    RegisterNode,
    RequestLeases,
    ReturnLease,
    StopGroup,
)
from distpool.protocol.names import (
    ActorStarted,
    ActorTold,
    CallActor,
    CancelActorCall,
    ClaimName,
    EndActor,
    FindName,
    FreeName,
    NameTold,
    StartActor,
)
from distpool.protocol.objects import BringSoon, ForeignKept, ForgetObjects, ReleaseObjects, WantTransfers
from distpool.protocol.placing import ClosePlaces, LeaseWaits, OpenPlaces, PlacesTold, RequestsRefused
from distpool.protocol.standing import StatusTold

# To a head ------------------------------------------------------------------------------------------------------------

NODE_MAY_SAY = Greeting | LeaveCluster | RegisterNode | ReturnLease | StoreUse | WantToLeave | NodeTold
DRIVER_MAY_SAY = (
    Greeting
    | LeaveCluster
    | AskStatus
    | AskLog
    | AskStacks
    | RequestLeases
    | EndGroup
    | ReturnLease
    | LeaseWaits
    | OpenPlaces
    | ClosePlaces
    | DrainNode
    | Listens
    | ClaimName
    | FindName
    | FreeName
)
TOKEN_MAY_SAY = Enrol

# By a head ------------------------------------------------------------------------------------------------------------

NODE_MAY_HEAR = (
    Welcome
    | Refused
    | HeadKeyChanges
    | LetIn
    | GrantLease
    | RevokeLease
    | LeaseWaits
    | DrainNode
    | AskLog
    | AskStacks
    | Enrolled
)
DRIVER_MAY_HEAR = (
    Welcome
    | Refused
    | HeadKeyChanges
    | LeaseGranted
    | NodeGone
    | NodeDrains
    | RequestsDropped
    | RequestsWait
    | RequestsRefused
    | PlacesTold
    | StatusTold
    | NodeTold
    | DrainTold
    | Enrolled
    | LetIn
    | NameTold
)

# Between a driver and a node ------------------------------------------------------------------------------------------

CALLER_MAY_SAY = (
    Greeting
    | LeaveCluster
    | OpenGroup
    | UseLease
    | ToWorker
    | StopGroup
    | EndWorker
    | InterruptWorker
    | CodePiece
    | BringSoon
    | ReleaseObjects
    | ForgetObjects
)
CALLER_MAY_HEAR = (
    Welcome
    | Refused
    | LeaseStarted
    | LeaseLost
    | LeaseUnused
    | FromWorker
    | GroupGone
    | GroupFailed
    | NeedCode
    | WantTransfers
    | ForeignKept
)

# Between drivers: of one that has actors with names, its guests -------------------------------------------------------

GUEST_MAY_SAY = Greeting | LeaveCluster | CallActor | CancelActorCall | EndActor | StartActor
GUEST_MAY_HEAR = Welcome | Refused | ActorTold | ActorStarted
